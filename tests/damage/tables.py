"""Annotation, predictions, lists of videos, classes files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avvp_pl.data.annotations import INCLUSIVE
from tests.damage.place import (
    DENSE,
    MODALITIES,
    ROW,
    TEST,
    TRAIN,
    VAL,
    WEAK,
    Case,
    instead,
    setting,
)

NO_TABLE = "predicted_audio.csv: the header must have the tab-separated columns filename, onset, offset, event_labels;"
FIRST = f", such as '{TEST}' in line 2"
OTHERS = "Events other than LLP's must be listed in data/classes.txt, one on each line."


def prediction(name: str, outcome: Any, says: str, rows: str | bytes, header: str = DENSE) -> Case:
    return Case(name, outcome, says, lambda place: place.prediction(rows, header=header))


def ends(name: str, text: str, outcome: Any = "error", says: str = "") -> Case:
    """A row that ends, in the prediction, at another time."""
    said = (
        says
        or f"predicted_audio.csv, line 2: offset is {text!r}; it must be a time in seconds from the start, 0 or more"
    )
    return prediction(name, outcome, said, f"{TEST}\t2\t{text}\tSpeech\n")


def weak(name: str, outcome: Any, says: str, rows: str) -> Case:
    """Other rows in the table of the training videos."""
    return Case(name, outcome, says, lambda place: place.data("AVVP_train.csv", WEAK + rows), "prepare")


def data(name: str, outcome: Any, says: str, table: str, content: str | bytes) -> Case:
    return Case(name, outcome, says, lambda place: place.data(table, content), "prepare")


CASES: dict[str, list[Case]] = {
    "Tables of timelines: annotation and predictions": [
        Case("missing", "error", "predicted_audio.csv: no such file", lambda p: p.prediction("").unlink()),
        Case(
            "a folder",
            "error",
            "predicted_audio.csv: cannot be read (Is a directory)",
            lambda p: instead(p.prediction(""), Path.mkdir),
        ),
        prediction("empty", "error", f"{NO_TABLE} filename, onset, offset, event_labels are missing.", b""),
        prediction(
            "a header alone",
            "warning",
            "predicted_audio.csv: tables that have no rows (no video has an event there), such as predicted_audio.csv",
            "",
        ),
        prediction(
            "no header", "error", f"{NO_TABLE} filename, onset, offset, event_labels are missing.", ROW.encode()
        ),
        prediction(
            "commas for tabs",
            "error",
            "The header looks comma-separated; use tabs.",
            (DENSE + ROW).replace("\t", ",").encode(),
        ),
        prediction(
            "semicolons for tabs",
            "error",
            "The header looks separated by semicolons; use tabs.",
            (DENSE + ROW).replace("\t", ";").encode(),
        ),
        prediction(
            "spaces for tabs",
            "error",
            "The header looks separated by spaces; use tabs.",
            (DENSE + ROW).expandtabs().encode(),
        ),
        prediction(
            "a column missing",
            "error",
            f"{NO_TABLE} offset is missing.",
            f"{TEST}\t1\tSpeech\n",
            DENSE.replace("\toffset", ""),
        ),
        prediction(
            "a column twice",
            "error",
            "predicted_audio.csv: the header has 2 columns called onset; keep one of them",
            f"{TEST}\t1\t2\tSpeech\t5\n",
            DENSE[:-1] + "\tonset\n",
        ),
        prediction(
            "columns in another order", "read", "", f"Speech\t3\t1\t{TEST}\n", "event_labels\toffset\tonset\tfilename\n"
        ),
        prediction(
            "cells of two columns swapped",
            "error",
            f"line 2: '{TEST}' is not among the 25 events.",
            f"Speech\t1\t3\t{TEST}\n",
        ),
        prediction(
            "a cell too few",
            "error",
            "predicted_audio.csv, line 3: the row has 2 tab-separated cells, but the header has 4",
            f"{ROW}{TEST}\t1\n",
        ),
        prediction(
            "a cell too many",
            "error",
            "predicted_audio.csv, line 2: the row has 5 tab-separated cells, but the header has 4",
            ROW[:-1] + "\tx\n",
        ),
        prediction(
            "cut off in its last row",
            "error",
            f"line 3: 'Spee' is not among the 25 events. Did you mean 'Speech'? {OTHERS}",
            (ROW + ROW)[:-3],
        ),
        prediction("byte order mark and CRLF", "read", "", ("\ufeff" + DENSE + ROW).replace("\n", "\r\n").encode()),
        prediction("empty lines", "read", "", f"\n{ROW}\n \n"),
        prediction(
            "Latin-1",
            "error",
            "predicted_audio.csv, line 3: this is not UTF-8 text (byte 0xe9); save the file as UTF-8",
            (DENSE + ROW + "é").encode("latin-1"),
        ),
        prediction(
            "UTF-16",
            "error",
            "predicted_audio.csv, line 1: this is not UTF-8 text (byte 0xff); save the file as UTF-8",
            (DENSE + ROW).encode("utf-16"),
        ),
        prediction(
            "only NUL bytes", "error", f"{NO_TABLE} filename, onset, offset, event_labels are missing.", bytes(4096)
        ),
        prediction(
            "a web page",
            "error",
            f"{NO_TABLE} filename, onset, offset, event_labels are missing.",
            b"<!DOCTYPE html>\n<title>404</title>\n",
        ),
        ends("a time that is a word", "two"),
        ends("no time", ""),
        ends("a negative time", "-1"),
        ends("NaN", "nan"),
        ends("an infinite time", "inf"),
        ends("a decimal comma", "2,5"),
        ends("a number for programmers", "1_0"),
        ends("a hexadecimal number", "0x3"),
        ends("digits of another alphabet", "\uff13"),
        ends(
            "a number of 5,000 digits",
            "9" * 5000,
            says=f"line 2: offset is '{'9' * 60}'...; it must be a time in seconds from the start",
        ),
        ends(
            "negative zero", "-0", "warning", f"predicted_audio.csv: rows that end before they start (ignored){FIRST}"
        ),
        ends(
            "a time past the end",
            "12",
            says="from 2 to 12 s ends after the 10 segments of 1 s, so it would be cut off; give segments=12",
        ),
        ends(
            "a huge time",
            "1e300",
            says="from 2 to 1e+300 s ends after the 10 segments of 1 s, so it would be cut off; give times",
        ),
        ends(
            "onset and offset reversed",
            "1",
            "warning",
            f"predicted_audio.csv: rows that end before they start (ignored){FIRST}",
        ),
        ends(
            "onset and offset the same",
            "2",
            "warning",
            f"predicted_audio.csv: rows that start where they end ({INCLUSIVE}){FIRST}",
        ),
        ends(
            "a fraction of a segment",
            "2.5",
            says="from 2 to 2.5 s does not start and end with a segment of 1 s, so it would be scored at other times; "
            "give segment_seconds=0.5 segments=20, which fit all rows",
        ),
        data(
            "a time past the end, in training",
            "warning",
            f"AVVP_eval_audio.csv: rows that reach past the end (cut off), such as '{TEST}' in line 3",
            "AVVP_eval_audio.csv",
            f"{DENSE}{VAL}\t0\t5\tSpeech\n{TEST}\t1\t12\tSpeech\n",
        ),
        data(
            "a fraction of a segment, in training",
            "warning",
            f"AVVP_eval_audio.csv: rows that do not start or end with a segment (truncated), such as '{VAL}' in line 2",
            "AVVP_eval_audio.csv",
            f"{DENSE}{VAL}\t0\t2.5\tSpeech\n{ROW}",
        ),
        prediction(
            "a row twice",
            "warning",
            f"predicted_audio.csv: rows that overlap another of the same event (merged), such as '{TEST}' in line 3",
            ROW + ROW,
        ),
        prediction(
            "rows that adjoin",
            "warning",
            f"predicted_audio.csv: rows that adjoin another of the same event (merged), such as '{TEST}' in line 3",
            f"{TEST}\t0\t1\tSpeech\n{ROW}",
        ),
        prediction(
            "an unknown event",
            "error",
            f"predicted_audio.csv, line 2: 'Speach' is not among the 25 events. Did you mean 'Speech'? {OTHERS}",
            ROW.replace("Speech", "Speach"),
        ),
        prediction(
            "an event in lower case",
            "error",
            "'speech' is not among the 25 events. Did you mean 'Speech'?",
            ROW.lower(),
        ),
        prediction(
            "two events in one row",
            "error",
            "'Speech,Dog' is not among the 25 events; write each event on a row of its own.",
            ROW[:-1] + ",Dog\n",
        ),
        prediction(
            "no event",
            "error",
            "predicted_audio.csv, line 2: '' is not among the 25 events; for a video without",
            f"{TEST}\t1\t3\t\n",
        ),
        prediction(
            "cells in quotes",
            "read",
            "",
            f'"{TEST}"\t"1"\t3\t"Speech"\n',
            '"filename"\t"onset"\t"offset"\t"event_labels"\n',
        ),
        prediction(
            "a quote that is not closed",
            "error",
            "predicted_audio.csv, line 2: the quotes in this row cannot be read",
            f'"{TEST}\t1\t3\tSpeech\n',
        ),
        prediction(
            "a tab within quotes",
            "error",
            "predicted_audio.csv, line 2: the quotes of filename enclose a tab",
            f'"{TEST}\tx"\t1\t3\tSpeech\n',
        ),
        Case("a video without events", "read", "", lambda p: p.prediction(f"{ROW}{VAL}\t\t\t\n")),
        prediction(
            "the header again", "error", "predicted_audio.csv, line 3: the header stands here again", ROW + DENSE
        ),
        prediction(
            "other names for all videos",
            "error",
            f"predicted_audio.csv: names none of the 2 listed videos: it has '{TEST}.mp4' in line 2, and ... "
            f"videos.csv has '{TEST}' in line 3. Write the same names in both (capital letters and endings such as",
            f"{TEST}.mp4\t1\t3\tSpeech\n",
        ),
        Case(
            "annotation of other videos",
            "error",
            "AVVP_eval_audio.csv: names none of the 2 listed videos: it has 'nobody' in line 2, and",
            lambda p: p.data("AVVP_eval_audio.csv", DENSE + "nobody\t1\t3\tSpeech\n"),
        ),
        Case(
            "annotation of no video",
            "warning",
            f"videos.csv: listed videos without any annotation (no event counts as true), such as '{VAL}' in line 2",
            lambda p: [p.data(f"AVVP_eval_{m}.csv", DENSE) for m in MODALITIES],
        ),
        data(
            "annotation of other videos, in training",
            "error",
            "AVVP_eval_audio.csv: names none of the 2 listed videos: it has 'nobody' in line 2, and",
            "AVVP_eval_audio.csv",
            DENSE + "nobody\t1\t3\tSpeech\n",
        ),
        Case(
            "annotation of no validation video",
            "error",
            f"AVVP_val_pd.csv: none of the 1 listed videos, such as '{VAL}' in line 2, is annotated in ... "
            f"AVVP_eval_audio.csv has '{TEST}' in line 2. Write the same names in both",
            lambda p: [p.data(f"AVVP_eval_{m}.csv", DENSE + ROW) for m in MODALITIES],
            "prepare",
        ),
        Case(
            "a listed video without annotation",
            "warning",
            "videos.csv: listed videos without any annotation (no event counts as true), such as 'nobody' in line 4",
            lambda p: p.videos(WEAK + f"{VAL}\n{TEST}\nnobody\n"),
        ),
        Case(
            "several events as one in the annotation",
            "error",
            "AVVP_eval_audio.csv, line 2: 'Owl,Dog' reads like several events; write each event on a row of its own",
            lambda p: p.data("AVVP_eval_audio.csv", f"{DENSE}{TEST}\t1\t3\tOwl,Dog\n{TEST}\t5\t7\tOwl\n"),
        ),
        prediction("no video", "error", "predicted_audio.csv, line 2: the filename is empty", "\t1\t3\tSpeech\n"),
        prediction(
            "a video that is not listed",
            "warning",
            "predicted_audio.csv: videos that are not listed (ignored), such as 'nobody' in line 3",
            ROW + "nobody\t1\t3\tSpeech\n",
        ),
        prediction(
            "a video called ../../x",
            "warning",
            "predicted_audio.csv: videos that are not listed (ignored), such as '../../x' in line 3",
            ROW + "../../x\t1\t3\tSpeech\n",
        ),
        prediction(
            "a video's name of a million letters",
            "warning",
            f"predicted_audio.csv: videos that are not listed (ignored), such as '{'x' * 60}'... in line 3",
            ROW + "x" * 10**6 + "\t1\t3\tSpeech\n",
        ),
        prediction(
            "an event's name of a million letters",
            "error",
            f"line 2: '{'x' * 60}'... is not among the 25 events.",
            f"{TEST}\t1\t3\t{'x' * 10**6}\n",
        ),
        Case(
            "an event that only predictions have",
            "warning",
            "the annotation never has 'Owll', but it is predicted. Did you mean 'Owl'?",
            lambda p: (
                p.data("AVVP_eval_audio.csv", DENSE + f"{TEST}\t1\t3\tOwl\n"),
                p.prediction(f"{TEST}\t1\t3\tOwll\n"),
            ),
        ),
        Case(
            "hidden annotation of one modality only",
            "warning",
            "AVVP_train_hidden_audio.csv: annotation of some modalities only (ignored), such as "
            "AVVP_train_hidden_audio.csv without AVVP_train_hidden_visual.csv",
            lambda p: p.data("AVVP_train_hidden_audio.csv", DENSE),
            "prepare",
        ),
        Case(
            "hidden annotation of no training video",
            "error",
            f"AVVP_train_hidden_audio.csv: names none of the 2 listed videos: it has '{TEST}' in line 2, and ... "
            f"AVVP_train.csv has '{TRAIN[1]}' in line 3. Write the same names in both",
            lambda p: [p.data(f"AVVP_train_hidden_{m}.csv", DENSE + ROW) for m in MODALITIES],
            "prepare",
        ),
        data(
            "annotation of a video in no split",
            "warning",
            "AVVP_eval_audio.csv: videos that are not listed (ignored), such as 'nobody' in line 4",
            "AVVP_eval_audio.csv",
            f"{DENSE}{VAL}\t0\t5\tSpeech\n{ROW}nobody\t1\t3\tSpeech\n",
        ),
    ],
    "Tables of weak labels": [
        weak(
            "no training video", "error", "AVVP_train.csv: the table has no rows; it must list at least one video", ""
        ),
        data(
            "no validation video",
            "error",
            "AVVP_val_pd.csv: the table has no rows; it must list at least one video",
            "AVVP_val_pd.csv",
            WEAK,
        ),
        Case(
            "the table missing",
            "error",
            "AVVP_train.csv: no such file",
            lambda p: p.data("AVVP_train.csv", "").unlink(),
            "prepare",
        ),
        weak(
            "a video listed twice",
            "error",
            f"AVVP_train.csv, line 3: '{TRAIN[0]}' is listed twice; remove one of the rows",
            f"{TRAIN[0]}\tSpeech\n" * 2,
        ),
        weak(
            "two videos of one key",
            "error",
            "AVVP_train.csv: 'AAAAAAAAAAA_5_15' and 'AAAAAAAAAAA_0_10' are both ... AAAAAAAAAAA.npy ... rename one of",
            f"{TRAIN[0]}\tSpeech\nAAAAAAAAAAA_5_15\tDog\n",
        ),
        data(
            "a video in two splits",
            "error",
            "AVVP_val_pd.csv: ... (the other is listed in AVVP_train.csv); a video belongs to one split",
            "AVVP_val_pd.csv",
            f"{WEAK}{TRAIN[0]}\tSpeech\n",
        ),
        weak(
            "an unknown weak label",
            "error",
            "AVVP_train.csv, line 2: 'Speach' is not among the 25 events. Did you mean 'Speech'?",
            f"{TRAIN[0]}\tDog,Speach\n",
        ),
        weak(
            "labels separated by semicolons",
            "error",
            "AVVP_train.csv, line 2: 'Speech;Dog' is not among the 25 events.",
            f"{TRAIN[0]}\tSpeech;Dog\n",
        ),
        weak(
            "the columns swapped",
            "error",
            f"AVVP_train.csv, line 2: '{TRAIN[0]}' is not among the 25 events.",
            f"Speech\t{TRAIN[0]}\n",
        ),
        weak(
            "a label twice",
            "warning",
            f"AVVP_train.csv: rows with an event named twice (counted once), such as '{TRAIN[0]}' in line 2",
            f"{TRAIN[0]}\tSpeech,Speech\n",
        ),
        weak(
            "no label",
            "warning",
            f"AVVP_train.csv: videos without any event, such as '{TRAIN[0]}' in line 2",
            f"{TRAIN[0]}\n",
        ),
        data(
            "labels that the annotation does not have",
            "warning",
            "AVVP_val_pd.csv: evaluated videos whose weak labels differ from their annotation (both kept), such as "
            f"'{VAL}' in line 2",
            "AVVP_val_pd.csv",
            f"{WEAK}{VAL}\tDog\n",
        ),
        weak(
            "the name ../../x",
            "error",
            "AVVP_train.csv: '../../x' is not a possible name of a video, as it must not contain a path",
            "../../x\tDog\n",
        ),
        weak("the name ..", "error", "AVVP_train.csv, line 2: '..' is no name of a video", "..\tDog\n"),
        weak(
            "a name with a backslash",
            "error",
            r"AVVP_train.csv: '..\\x' is not a possible name of a video",
            "..\\x\tDog\n",
        ),
        weak(
            "a name with a NUL byte",
            "error",
            r"AVVP_train.csv: 'a\x00b' is not a possible name of a video",
            "a\0b\tDog\n",
        ),
        weak(
            "a name too long for a file",
            "error",
            f"{'x' * 260}.npy: not a complete .npy file of numbers (File name too long)",
            "x" * 260 + "\tDog\n",
        ),
        weak(
            "a name that colors the terminal",
            "error",
            r"feats/vggish/a\x1b[31mb.npy: no such file, but 'a\x1b[31mb' is listed",
            "a\x1b[31mb\tDog\n",
        ),
    ],
    "List of videos to score": [
        Case(
            "no video listed",
            "error",
            "videos.csv: the table has no rows; it must list at least one video",
            lambda p: p.videos(WEAK),
        ),
        Case(
            "a video twice in the list",
            "error",
            f"videos.csv, lines 2, 3: '{TEST}' is listed 2 times; remove all rows but one",
            lambda p: p.videos(WEAK + f"{TEST}\n" * 2),
        ),
        Case(
            "names without a header",
            "error",
            "videos.csv: the header must have the tab-separated columns filename; filename is missing.",
            lambda p: p.videos(TEST),
        ),
        Case(
            "a second header",
            "error",
            "videos.csv, line 3: the header stands here again; remove this line",
            lambda p: p.videos(f"{WEAK}{VAL}\n{WEAK}{TEST}\n"),
        ),
        Case(
            "a sign of the end of the file",
            "error",
            r"videos.csv, line 4: '\x1a' is no name of a video; remove this line or correct it",
            lambda p: p.videos(f"{WEAK}{VAL}\n{TEST}\n\x1a"),
        ),
        Case(
            "a line of dashes",
            "error",
            "videos.csv, line 2: '----' is no name of a video; remove this line or correct it",
            lambda p: p.videos(f"{WEAK}----\n{VAL}\n{TEST}\n"),
        ),
        Case(
            "a total below the list",
            "error",
            "videos.csv: 'Total' in line 4 is in none of the tables and unlike the videos that are",
            lambda p: p.videos(f"{WEAK}{VAL}\t\n{TEST}\t\nTotal\t2\n"),
        ),
        Case(
            "one of two names with an ending",
            "error",
            f"predicted_audio.csv: 1 of its 2 videos would be listed under another name: it has '{VAL}.mp4' in line 3,",
            lambda p: p.prediction(f"{ROW}{VAL}.mp4\t0\t5\tSpeech\n"),
        ),
        Case("byte order marks inside", "read", "", lambda p: p.videos(f"\ufeff{WEAK}{VAL}\n\ufeff{TEST}\n")),
        Case("no list", "error", "videos.csv: no such file", lambda p: p.videos("").unlink()),
        setting(
            "truth={audio: a.csv, visual: v.csv}",
            "audio and truth: give either truth= and predicted=, or audio=, visual=,",
            command="score",
        ),
        setting("predicted_visual=null", "predicted_visual must be given: predicted_visual=...", command="score"),
    ],
    "Classes file": [
        data(
            "an empty file",
            "error",
            "classes.txt: the file is empty; write one event on each line",
            "classes.txt",
            "\n\n",
        ),
        data(
            "an event twice",
            "error",
            "classes.txt: 'Speech' is listed 2 times; keep one of the lines",
            "classes.txt",
            "Speech\nDog\nSpeech\n",
        ),
        data(
            "all events in one line",
            "error",
            "AVVP_train.csv, line 2: 'Speech' is not among the 1 events, but a part of 'Speech,Dog', which is one of",
            "classes.txt",
            "Speech,Dog\n",
        ),
        data(
            "two columns",
            "error",
            "classes.txt, line 1: '0\\tSpeech' is not one event; write one on each line, without tabs",
            "classes.txt",
            "0\tSpeech\n",
        ),
        data(
            "numbered events",
            "error",
            "'Speech' is not among the 2 events. Did you mean '0 Speech'?",
            "classes.txt",
            "0 Speech\n1 Dog\n",
        ),
        data(
            "one event, and others in the tables",
            "error",
            "'Speech' is not among the 1 events.",
            "classes.txt",
            "Dog\n",
        ),
        data("one event, as in the tables", "read", "", "classes.txt", "Speech\n"),
        data("empty lines and CRLF", "read", "", "classes.txt", "Speech\r\n\r\n Dog\r\n"),
        data(
            "classes in UTF-16",
            "error",
            "classes.txt, line 1: this is not UTF-8 text (byte 0xff); save the file as UTF-8",
            "classes.txt",
            "Dog".encode("utf-16"),
        ),
        Case(
            "a folder called classes.txt",
            "error",
            "classes.txt: cannot be read (Is a directory)",
            lambda p: (p.llp / "data" / "classes.txt").mkdir(),
            "prepare",
        ),
        setting("classes=nowhere.txt", "nowhere.txt: no such file", command="score"),
    ],
}
