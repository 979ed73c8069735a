"""What people point at by mistake is named in one line, with what to type instead."""

import gzip
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

import surgery
from surgery.errors import FormatError
from tests.conftest import command, dense_layers

MODEL = dense_layers(["a", "b"], [4, 3, 2])


def text(name, content):
    return lambda folder: write(folder / name, content)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def saved(form, name, *cut):
    """A model in a format; cut to a part of its bytes, where that is given."""

    def make(folder):
        surgery.save(MODEL, **{form: folder / name})
        if cut:
            write(folder / name, (folder / name).read_bytes()[: cut[0]])
        return folder / name

    return make


def checkpoint(*ending):
    """Something in the folder of a checkpoint."""

    def make(folder):
        from surgery.weights.model import Model

        surgery.save(Model(MODEL.weights), checkpoint=folder / "c")
        (folder / "c/ckpt.meta").write_bytes(b"\x0a\x03\x0a\x01x")
        return folder.joinpath("c", *ending)

    return make


def numbered(folder):
    for number in (90, 100, 9, 200):
        write(folder / f"m.ckpt-{number}.index", b"x")
    return folder / "m.ckpt"


def zipped(*names):
    def make(folder):
        with zipfile.ZipFile(folder / "m.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "x")
        return folder / "m.zip"

    return make


def folder_of(*names):
    def make(folder):
        for name in names:
            write(folder / "models" / name, "x")
        (folder / "models").mkdir(exist_ok=True)
        return folder / "models"

    return make


LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5555\n"
CONFIG = json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": []}})
RECIPE = "# a recipe\nsurgery: 1\nload: m.keras\nexport: [{npy: out}]\n"
HEADER = struct.pack("<Q", 10_000) + b'{"a":{"dtype":"F32"'

CASES = {
    "lfs": (text("m.h5", LFS), "is a Git LFS pointer, not the file itself; type git lfs pull"),
    "html": (text("m.h5", "\n<!DOCTYPE html><html>"), "is a web page (HTML), not the file itself"),
    "html-with-mark": (text("m.keras", "\ufeff<HTML>"), "is a web page (HTML), not the file"),
    "xml": (text("m.keras", "<?xml version='1.0'?><Error/>"), "is an XML document"),
    "gzip": (text("m.h5.gz", gzip.compress(b"x")), "is compressed with gzip; type gunzip"),
    "zip": (zipped("readme", "net/m.h5", "net/n.keras"),
            "is a zip archive; unpack it, and name the model: net/m.h5, net/n.keras"),
    "pytorch": (zipped("net/data.pkl", "net/data/0"), "is a PyTorch file; save its state_dict"),
    "pickle": (text("m.pkl", pickle.dumps({"a": 1})), "is a Python pickle, which can run code"),
    "array": (lambda f: (np.save(f / "m.npy", np.ones(3)), f / "m.npy")[1], "is one NumPy array"),
    "meta": (text("ckpt.meta", "x"), "is the graph of a checkpoint, whose .index is missing"),
    "state": (checkpoint("checkpoint"), "lists the checkpoints of its folder; name"),
    "no-number": (numbered, "no such checkpoint; name one with its number: m.ckpt-200, m.ckpt-100, "
                            "m.ckpt-90, ..."),
    "misspelt": (lambda f: saved("keras", "model.keras")(f).with_name("modell.keras"),
                 "no such file or folder (did you mean 'model.keras'?)"),
    "pbtxt": (text("graph.pbtxt", 'node {\n  name: "x"\n}\n'), "is a graph in text form; write it"),
    "text": (text("graph.pb", 'node {\n  name: "x"\n}\n'), "is a graph in text form; write it as"),
    "config": (text("model.json", CONFIG),
               "is a Keras config without weights; write load: {{config: model.json"),
    "tfjs": (text("model.json", '{"modelTopology": {}}'), "is a TensorFlow.js model, which is not"),
    "index": (lambda f: saved("npy", "w")(f) / "index.json", "is the index of a folder of .npy"),
    "recipe": (text("r.yaml", RECIPE), "is a recipe, not a model; surgery plan {path} shows what"),
    "models": (folder_of("a.keras", "b10.h5", "b9.h5", "notes.txt", "old/saved_model.pb"),
               "is a folder with 4 models in it; name one: {path}/a.keras, {path}/b9.h5, "
               "{path}/b10.h5, ..."),
    "one-model": (folder_of("x/checkpoint"), "is a folder with a model in it; name one: {path}/x"),
    "no-model": (folder_of(), "is an empty folder"),
    "arrays": (folder_of("a.npy", "b.npy"), "is a folder of .npy without its index.json"),
    "cut-h5": (saved("h5", "m.h5", 3000), "is truncated: it has 3,000 bytes of "),
    "cut-keras": (saved("keras", "m.keras", 3000), "is not a readable zip archive: "),
    "cut-npz": (saved("npz", "m.npz", 300), "is not a readable zip archive: "),
    "no-zip": (text("m.keras", "abc"), "does not match its suffix, or is truncated; download"),
    "cut-safetensors": (text("m.safetensors", HEADER), "is truncated, or not a safetensors file"),
    "zeros": (text("m.keras", bytes(5000)), "begins with zeros, like an incomplete download"),
    "unfinished": (text("m.keras.part", "abc"), "is an unfinished download; finish it"),
    "code": (text("net.py", "import keras\n"), "is Python code; save the model it builds"),
    "no-hdf5": (text("m.h5", "abc"), "is not an HDF5 file, or its beginning is missing"),
    "nothing-known": (text("notes", "abc"), "is not a model that surgery reads (a folder with"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_named(name, tmp_path):
    make, message = CASES[name]
    path = make(tmp_path)
    with pytest.raises(FormatError) as error:
        surgery.open(path)
    assert message.format(path=path, folder=tmp_path) in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_on_the_command_line(tmp_path):
    write(tmp_path / "m.h5", LFS)
    for arguments in (["inspect", "m.h5"], ["convert", "m.h5", "out.keras"]):
        done = command(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "m.h5 is a Git LFS pointer, not the file itself; type git lfs pull\n"
        )
