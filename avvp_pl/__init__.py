"""Weakly-supervised audio-visual video parsing: which events occur in each second of a video, heard, seen, or both.

The rooms of the package, in the order in which data flows through them:

``types``          the vocabulary: the symbols of the papers and their names here, Batch, ParsingOutput, ParsingNetwork
``data``           data sets (``llp``, ``synthetic``) -> ``videos``: VideoSet, and batches of videos of any length
``models``         networks: HAN (Eqs. 1-2), attentive pooling (Eq. 3), the momentum network
``losses``         L_MIL (Eq. 4), L_PL (Eq. 11), L_CL (Eq. 12)
``pseudo_labels``  key segments (Eqs. 5-7), prototypes (Eq. 8), labels (Eqs. 9-10), why it is EM (Eqs. 14-18)
``metrics``        F1 of segments and events, exactly as the field computes it
``parts``          the contract of the parts that a run is composed of, and the sum of their losses (Eq. 13)
``methods``        parts: what weak labels teach
``labeling``       parts: where pseudo labels come from, and what they teach
``inference``      parts: which probabilities are tested, and the gates that make timelines of them
``training``       the one LightningModule, the optimizer and its schedules, the callbacks that say when things happen
``tasks``          how a result is scored, written and printed
``runs``           run folders and checkpoints: who writes them, and who reads them
``reporting``      finished runs as tables, figures and a page
``settings``       which settings exist, their limits, and which of them tell two runs apart
``commands``       from a command line to objects, and the messages and exit codes of all commands
``processes``      the processes of a run: signals, random numbers, communication
``testing``        tests for a method of your own
``train`` ...      the commands: train, evaluate, predict, score, prepare, report

All of them may use ``errors`` (messages for the user), ``files`` (whole or not there) and ``figures``. Each equation is
one function of tensors, and ``models``, ``losses``, ``pseudo_labels``, ``metrics`` and the parts know nothing of
Lightning, Hydra or W&B. Settings, with their defaults and what they mean, are in ``conf/``, a folder for each group.

===============================================  =======================================================================
Where is ...                                     look at
===============================================  =======================================================================
an equation of the paper, such as Eq. (10)?      ``grep -rn "Eq. (10)" avvp_pl``; ``docs/method.md`` has a table of all
a symbol of the paper, such as w-hat?            ``types``
the loss of a run?                               training_step in ``training.module``
the gate, and its threshold?                     ``inference.gates``; ``conf/protocol/common.yaml``
the learning rate?                               ``conf/optimizer/adam.yaml``; ``training.optimization``
the schedule of the learning rate?               ``conf/optimizer/schedule/``; ``training.optimization``
when pseudo labels are made?                     ``training.callbacks.refresh_pseudo_labels``
how pseudo labels are made?                      ``labeling``, one source a file
the epoch that is tested?                        selection in ``conf/protocol/common.yaml``
what a run folder holds?                         ``runs.names``
what a checkpoint holds?                         ``training.callbacks.checkpoint_contents``; ``runs.checkpoints``
what a checkpoint may build?                     ``runs.trust``
what makes a resumed run exact?                  ``processes.randomness``; ``docs/reliability.md``
an experiment, a row of a table?                 ``conf/experiment/``; ``reporting.rows``
a message about a setting?                       ``settings.check``, ``settings.names``
the help of a command, and where it comes from?  ``conf/``, its comments; ``commands.help``, ``settings.comments``
how to add something of your own?                ``docs/extending.md``
===============================================  =======================================================================

Equation numbers are those of Rachavarapu, Ramakrishnan, Rajagopalan, *Weakly-Supervised Audio-Visual Video Parsing with
Prototype-based Pseudo-Labeling* (PPL), CVPR 2024.
"""

__version__ = "0.1.0"
