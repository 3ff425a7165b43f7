"""Weakly-supervised audio-visual video parsing with prototype-based pseudo labels.

Read the package in the order the data flows:

``types``          the vocabulary: Batch, ParsingOutput, Segments, Prototypes
``data``           LLP folders and the synthetic set -> videos in memory -> batches
``models``         HAN (Eqs. 1-2), attentive MIL pooling (Eq. 3), the momentum network
``losses``         L_MIL (Eq. 4), L_PL (Eq. 11), L_CL (Eq. 12)
``pseudo_labels``  selection (Eqs. 5-7), prototypes (Eq. 8), labeling (Eqs. 9-10), EM (Eqs. 14-18)
``methods``        one LightningModule a file: mil, npl, ppl
``callbacks``      when things happen: pseudo labels refreshed, files written, panels logged
``reporting``      finished runs as tables, figures, a page
``metrics``        segment- and event-level F1 as the field computes them
``train`` ...      the commands, wiring only

Equation numbers are those of Rachavarapu, Ramakrishnan, Rajagopalan, *Weakly-Supervised Audio-Visual
Video Parsing with Prototype-based Pseudo-Labeling*, CVPR 2024. ``grep -rn "Eq. (10)" avvp_pl`` finds the code.
"""

__version__ = "0.1.0"
