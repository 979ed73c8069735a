"""Hostile and broken model files, made by code: a function for each, and what is said of it."""

import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

import surgery
from surgery.weights.model import Model
from tests.conftest import dense_layers

CASES = {}
PETA = 1 << 50


def case(message):
    """Register a function that makes a file; `{path}` in the message is where it stands."""

    def note(make):
        CASES[make.__name__] = (make, message)
        return make

    return note


def model(path, name="keras"):
    surgery.save(dense_layers(["a", "b"], [4, 3, 2]), **{name: path})
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(path, entries, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def with_member(folder, name, data):
    path = model(folder / "m.keras")
    return rezip(path, list({**members(path), name: data}.items()))


def edited(path, edit):
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)
    return path


def hdf5(folder, build, name="m.h5"):
    path = model(folder / name, "h5")
    with h5py.File(path, "r+") as file:
        build(file)
    return path


KERNEL = "model_weights/a/a/kernel"


def replaced(file, make):
    del file[KERNEL]
    group, _, name = KERNEL.rpartition("/")
    make(file[group], name)


def linked(folder, link):
    def make(group, name):
        group[name] = link

    return hdf5(folder, lambda file: replaced(file, make))


def npz(folder, data, name="w.npy"):
    return rezip(folder / "m.npz", [(name, data)])


def npy_bytes(header, data=b"\0" * 64):
    text = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npy(folder, data, entry=None):
    (folder / "w").mkdir()
    (folder / "w" / "x.npy").write_bytes(data)
    facts = {"address": "x", "file": "x.npy", "dtype": "float32", "shape": [4], **(entry or {})}
    (folder / "w" / "index.json").write_text(json.dumps([facts]))
    return folder / "w"


GOOD = npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}\n", b"\0" * 16)


def safetensors(folder, header, data=b"\0" * 16, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(**changes):
    return {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


# Zip archives


@case("{path} is not a readable zip archive: ")
def zip_cut_in_half(folder):
    return edited(
        model(folder / "m.keras"), lambda data: data.__delitem__(slice(len(data) // 2, None))
    )


@case("{path} is not a readable zip archive: ")
def zip_without_its_directory(folder):
    return edited(model(folder / "m.keras"), lambda data: data.__delitem__(slice(-60, None)))


@case("{path} does not match its suffix, or is truncated")
def zip_of_something_else(folder):
    return rezip(folder / "m.keras", [("readme.txt", b"hello")])


@case("{path} has no model.weights.h5; it was saved without weights or as .npz")
def zip_without_weights(folder):
    return rezip(folder / "m.keras", [("config.json", b"{}")])


@case("{path} has two entries of the same name")
def zip_with_a_name_twice(folder):
    path = model(folder / "m.keras")
    return rezip(path, [*members(path).items(), ("config.json", b"{}")])


@case("{path}: the entry '../../evil' has an unsafe path")
def zip_entry_that_climbs_out(folder):
    return with_member(folder, "../../evil", b"x")


@case("{path}: the entry '/etc/evil' has an unsafe path")
def zip_entry_from_the_root(folder):
    return with_member(folder, "/etc/evil", b"x")


@case("{path}: the entry '..\\\\evil' has an unsafe path")
def zip_entry_with_backslashes(folder):
    path = with_member(folder, "..+evil", b"x")
    return edited(
        path, lambda data: data.__setitem__(slice(None), data.replace(b"..+evil", b"..\\evil"))
    )


@case("{path}: the entries ")
def zip_with_overlapping_entries(folder):
    path = with_member(folder, "zz", b"x" * 100)

    def overlap(data):
        place = data.rindex(b"PK\x01\x02")
        data[place + 42 : place + 46] = struct.pack("<I", 4)

    return edited(path, overlap)


@case("is encrypted")
def zip_with_an_encrypted_entry(folder):
    path = rezip(folder / "m.keras", members(model(folder / "x.keras")).items())

    def encrypt(data):
        place = data.index(b"PK\x01\x02")
        while place >= 0:
            data[place + 8] |= 1
            place = data.find(b"PK\x01\x02", place + 4)

    return edited(path, encrypt)


@case("{path} is damaged: the CRC of model.weights.h5 is not the one in the archive")
def zip_with_a_wrong_crc_of_the_weights(folder):
    path = model(folder / "m.keras")
    kernel = dense_layers(["a", "b"], [4, 3, 2]).weights[0].tensor.numpy().tobytes()
    return edited(path, lambda data: data.__setitem__(data.index(kernel) + 3, 7))


@case("{path}: config.json cannot be read: Bad CRC-32 for file 'config.json'")
def zip_with_a_wrong_crc_of_the_config(folder):
    path = model(folder / "m.keras")
    return edited(path, lambda data: data.__setitem__(data.index(b"Sequential"), 115))


@case("{path}: model.weights.h5 would unpack to ")
def zip_bomb_of_weights(folder):
    path = model(folder / "m.keras")
    entries = {**members(path), "model.weights.h5": b"\0" * (150 << 20)}
    return rezip(path, entries.items(), zipfile.ZIP_DEFLATED)


@case("{path}: config.json is too large to read (")
def zip_bomb_of_config(folder):
    path = model(folder / "m.keras")
    entries = {**members(path), "config.json": b" " * (100 << 20)}
    return rezip(path, entries.items(), zipfile.ZIP_DEFLATED)


@case("{path}: model.weights.h5 cannot be unpacked: ")
def zip_with_broken_compression(folder):
    path = model(folder / "m.keras")
    rezip(path, members(path).items(), zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("model.weights.h5").header_offset
    return edited(path, lambda data: data.__setitem__(slice(place + 60, place + 90), b"\xff" * 30))


@case("{path}: the entry metadata.json is compressed by an unsupported method")
def zip_with_an_unknown_compression(folder):
    path = model(folder / "m.keras")
    return edited(path, lambda data: data.__setitem__(data.index(b"PK\x01\x02") + 10, 77))


@case("is compressed by an unsupported method; pack the archive again with deflate")
def zip_bomb_of_bzip2(folder):
    path = model(folder / "m.keras")
    entries = {**members(path), "config.json": b" " * (100 << 20)}
    return rezip(path, entries.items(), zipfile.ZIP_BZIP2)


def lying(folder, name, sizes, kind=zipfile.ZIP_DEFLATED, entries=None):
    """An archive whose directory gives an entry other sizes; CRC and bytes are as they were."""
    path = model(folder / "m.keras")
    rezip(path, {**members(path), **(entries or {})}.items(), kind)

    def lie(data):
        place = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
        packed = struct.unpack("<I", data[place + 20 : place + 24])[0]
        data[place + 20 : place + 28] = struct.pack("<II", *sizes(packed))

    return edited(path, lie)


@case("{path}: config.json cannot be read: Bad CRC-32 for file 'config.json'")
def zip_bomb_of_a_config_that_says_it_is_small(folder):
    bomb = {"config.json": b" " * (100 << 20)}
    return lying(folder, "config.json", lambda packed: (packed, 100), entries=bomb)


@case("{path}: model.weights.h5 cannot be unpacked: Bad CRC-32")
def zip_bomb_of_weights_that_say_they_are_small(folder):
    bomb = {"model.weights.h5": b"\0" * (100 << 20)}
    return lying(folder, "model.weights.h5", lambda packed: (packed, 5000), entries=bomb)


@case("{path}: config.json is shorter than 5,000,000 bytes")
def zip_whose_config_says_it_is_larger(folder):
    return lying(folder, "config.json", lambda packed: (packed, 5_000_000))


@case("{path}: model.weights.h5 ends ")
def zip_whose_weights_say_they_are_larger(folder):
    return lying(folder, "model.weights.h5", lambda packed: (packed, 5_000_000))


@case("{path}: the entry model.weights.h5 has two sizes")
def zip_whose_stored_entry_has_two_sizes(folder):
    return lying(folder, "model.weights.h5", lambda size: (size, size - 8), zipfile.ZIP_STORED)


@case("{path}: assets/x8 is too large to read (")
def zip_bomb_of_many_assets(folder):
    path = model(folder / "m.keras")
    assets = {f"assets/x{number}": b"\0" * (15 << 20) for number in range(12)}
    rezip(path, {**members(path), **assets}.items(), zipfile.ZIP_DEFLATED)
    return path


@case("{path}: model.weights.h5 has another name in its local header")
def zip_whose_entries_have_two_names(folder):
    path = model(folder / "m.keras")

    def rename(data):
        place = data.index(b"model.weights.h5")
        data[place : place + 5] = b"other"

    return edited(path, rename)


def zip_with_a_kind(folder, name, mode):
    path = model(folder / "m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, "/etc/passwd")
    return path


@case("{path}: the entry assets/vocabulary.txt is a link, or no file")
def zip_with_a_link(folder):
    return zip_with_a_kind(folder, "assets/vocabulary.txt", 0o120777)


@case("{path}: the entry metadata is a link, or no file")
def zip_with_a_device(folder):
    return zip_with_a_kind(folder, "metadata", 0o060600)


@case("{path} is not a readable HDF5 file: ")
def zip_whose_weights_are_text(folder):
    return with_member(folder, "model.weights.h5", b"no weights")


# Configs


@case("{path}: its config.json is not readable JSON: ")
def config_of_garbage(folder):
    return with_member(folder, "config.json", b"{'a': 1}")


@case("{path}: its config.json is not a JSON object")
def config_that_is_a_list(folder):
    return with_member(folder, "config.json", b"[]")


@case("{path}: its config.json is not readable JSON: ")
def config_of_absurd_depth(folder):
    return with_member(folder, "config.json", b'{"a":' * 100_000)


@case("{path}: its config.json is not readable JSON: ")
def config_with_a_number_of_a_million_digits(folder):
    return with_member(folder, "config.json", b'{"a": ' + b"9" * 1_000_000 + b"}")


@case("{path}: its config.json is not readable JSON: ")
def config_that_is_not_text(folder):
    return with_member(folder, "config.json", b'{"a": "\xff\xfe"}')


def odd_config(message, layers, class_name="Sequential", form="keras", **values):
    """Register a model file with such a config."""
    config = {"class_name": class_name, "config": {"name": "m", **values, "layers": layers}}

    def make(folder):
        if form == "h5":
            text = json.dumps(config)
            return hdf5(folder, lambda file: file.attrs.__setitem__("model_config", text))
        return with_member(folder, "config.json", json.dumps(config).encode())

    make.__name__ = f"config_{len(CASES)}_{form}"
    case("{path}: its config is damaged: " + message.replace("{", "{{").replace("}", "}}"))(make)


def dense(**values):
    return {"class_name": "Dense", "config": {"name": "a"}, **values}


FIRST = "config.layers[0]"
for wrong in ("keras", "h5"):
    odd_config("config.layers is 5, not a list", 5, form=wrong)
    odd_config(f"{FIRST} is 'Dense', not a layer with a class_name", ["Dense"], form=wrong)
    odd_config(f"{FIRST}.config.name is 7, not text", [dense(config={"name": 7})], form=wrong)
odd_config(f"{FIRST} is {{}}, not a layer with a class_name", [{}])
odd_config(f"{FIRST}.config is [1], not a mapping", [dense(config=[1])])
odd_config(f"{FIRST}.config.trainable is 'no', not true", [dense(config={"trainable": "no"})])
odd_config(f"{FIRST}.shared_object_id is [1], not a number", [dense(shared_object_id=[1])])
odd_config(f"{FIRST}.inbound_nodes is 'x', not a list", [dense(inbound_nodes="x")], "Functional")
odd_config(f"{FIRST}.inbound_nodes[1] is 3, not a list", [dense(inbound_nodes=[[], 3])], "Model")
odd_config("config.name is ['m'], not text", [dense()], name=["m"])
odd_config(f"{FIRST}.config.layers is {{'a': 1}}, not a list",
           [{"class_name": "Model", "config": {"layers": {"a": 1}}}])  # fmt: skip
WRAPPED = {"class_name": "Bidirectional", "config": {"layer": dense(config={"name": 0})}}
odd_config(f"{FIRST}.config.layer.config.name is 0, not text", [WRAPPED])


@case("{path} is damaged, or has unexpected contents (RecursionError: ")
def config_nested_300_models_deep(folder):
    depth = 300
    text = '{"class_name": "Sequential", "config": {"name": "m", "layers": [' * depth
    text += '{"class_name": "Dense", "config": {"name": "a"}}' + "]}}" * depth
    return with_member(folder, "config.json", text.encode())


@case("{path}/config.json is a link, which is not followed")
def folder_whose_config_is_a_link(folder):
    path = model(folder / "m.keras")
    (folder / "dir").mkdir()
    for name, data in members(path).items():
        (folder / "dir" / name).write_bytes(data)
    (folder / "secret").write_text("{}")
    (folder / "dir" / "config.json").unlink()
    os.symlink(folder / "secret", folder / "dir" / "config.json")
    return folder / "dir"


def stretched(path):
    """The same file with three gigabytes of nothing behind it."""
    os.truncate(path, 3 << 30)


@case("{path}/config.json is absurdly large (3,221,225,472 bytes)")
def folder_whose_config_is_huge(folder):
    path = model(folder / "m.keras")
    (folder / "dir").mkdir()
    for name, data in members(path).items():
        (folder / "dir" / name).write_bytes(data)
    stretched(folder / "dir/config.json")
    return folder / "dir"


@case("{path}/index.json is absurdly large (3,221,225,472 bytes)")
def npy_whose_index_is_huge(folder):
    path = npy(folder, GOOD)
    stretched(path / "index.json")
    return path


@case("{path} is absurdly large (3,221,225,472 bytes)")
def safetensors_index_that_is_huge(folder):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"x": "x.safetensors"}}))
    stretched(path)
    return path


@case("{path} is absurdly large (3,221,225,472 bytes)")
def weights_map_that_is_huge(folder):
    path = model(folder / "w", "weights_json") / "model.weights.json"
    stretched(path)
    return path


@case("{path}/nothing: no such checkpoint")
def checkpoint_file_that_is_huge(folder):
    path = checkpoint(folder)
    (path / "checkpoint").write_text('model_checkpoint_path: "nothing"\n')
    stretched(path / "checkpoint")
    return path


# HDF5


@case("{path} is truncated: it has 600 bytes of ")
def hdf5_cut_short(folder):
    return edited(model(folder / "m.h5", "h5"), lambda data: data.__delitem__(slice(600, None)))


@case("{path} is not a readable HDF5 file: ")
def hdf5_magic_and_nothing_else(folder):
    (folder / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return folder / "m.h5"


@case("{path}: /model_weights/a/a/kernel is a SoftLink; links out of a model file are not followed")
def hdf5_soft_link(folder):
    return linked(folder, h5py.SoftLink("/model_weights/b"))


@case("{path}: /model_weights/a/a/kernel is a SoftLink")
def hdf5_soft_link_to_itself(folder):
    return linked(folder, h5py.SoftLink(f"/{KERNEL}"))


@case("{path}: /model_weights/a/a/kernel is a ExternalLink")
def hdf5_external_link(folder):
    return linked(folder, h5py.ExternalLink("/etc/passwd", "/"))


@case("{path}: /model_weights/a/a/kernel has its values in other files, which are not read")
def hdf5_external_storage(folder):
    (folder / "secret").write_bytes(b"\0" * 64)
    return hdf5(folder, lambda file: replaced(file, lambda group, name: group.create_dataset(
        name, (4, 3), "f4", external=[(str(folder / "secret"), 0, 48)])))  # fmt: skip


@case("{path}: /model_weights/a/a/kernel has its values in other files, which are not read")
def hdf5_virtual_dataset_of_itself(folder):
    def make(group, name):
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource(".", f"/{KERNEL}", (4, 3))
        group.create_virtual_dataset(name, layout)

    return hdf5(folder, lambda file: replaced(file, make))


@case("{path}: /model_weights/a/a/kernel is not an array of numbers")
def hdf5_object_dtype(folder):
    return hdf5(folder, lambda file: replaced(file, lambda group, name: group.create_dataset(
        name, (4, 3), h5py.special_dtype(vlen=str))))  # fmt: skip


@case("{path}: /model_weights/a/a/kernel is not a dataset")
def hdf5_group_where_a_weight_belongs(folder):
    return hdf5(folder, lambda file: replaced(file, lambda group, name: group.create_group(name)))


@case("{path} has no /model_weights/a/a/kernel, though it is listed")
def hdf5_weight_that_is_missing(folder):
    return hdf5(folder, lambda file: file.__delitem__(KERNEL))


@case("{path} has no /model_weights/a, though it is listed")
def hdf5_layer_that_is_missing(folder):
    return hdf5(folder, lambda file: file.__delitem__("model_weights/a"))


@case("{path}: /model_weights/a/a/kernel claims 1,125,899,906,842,624 bytes, and 0 are stored")
def hdf5_a_petabyte_never_written(folder):
    return hdf5(folder, lambda file: replaced(file, lambda group, name: group.create_dataset(
        name, (PETA // 4096, 1024), "f4")))  # fmt: skip


@case("{path}: /model_weights/a/a/kernel claims ")
def hdf5_a_petabyte_in_chunks(folder):
    return hdf5(folder, lambda file: replaced(file, lambda group, name: group.create_dataset(
        name, (PETA // 4096, 1024), "f4", chunks=(64, 1024), compression="gzip")))  # fmt: skip


@case("{path}: /model_weights/a/a/kernel ")
def hdf5_one_chunk_of_two_gigabytes(folder):
    return hdf5(folder, lambda file: replaced(file, lambda group, name: group.create_dataset(
        name, (1 << 19, 1 << 10), "f4", chunks=(1 << 19, 1 << 9), compression="gzip")))  # fmt: skip


@case("{path}: /model_weights/a/a/kernel is compressed by a filter that is missing")
def hdf5_unknown_filter(folder):
    def make(group, name):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 3))
        plist.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (4,))
        space = h5py.h5s.create_simple((4, 3))
        h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, plist)

    path = hdf5(folder, lambda file: replaced(file, make))
    number = struct.pack("<H", 32015)  # where deflate's own number stands, before its name
    return edited(path, lambda data: data.__setitem__(
        slice(data.index(b"deflate") - 8, data.index(b"deflate") - 6), number))  # fmt: skip


@case("{path}: /model_weights/a/a/kernel cannot be read: ")
def hdf5_broken_chunk(folder):
    def make(group, name):
        values = np.random.default_rng(0).random((4, 3)).astype("f4")
        group.create_dataset(name, data=values, chunks=(4, 3), compression="gzip")
        chunk = group[name].id.get_chunk_info(0)
        places.append((chunk.byte_offset, chunk.size))

    places = []
    path = hdf5(folder, lambda file: replaced(file, make))
    offset, size = places[0]
    return edited(path, lambda data: data.__setitem__(slice(offset, offset + size), b"\xff" * size))


def short_chunk(folder, **options):
    """A dataset whose one chunk holds the first part of its elements only."""

    def make(group, name):
        values = np.arange(12, dtype="f4").reshape(4, 3)
        part = group.create_dataset("part", data=np.zeros((2, 3), "f4"), chunks=(2, 3), **options)
        mask, raw = part.id.read_direct_chunk((0, 0))
        del group["part"]
        whole = group.create_dataset(name, data=values, chunks=(4, 3), **options)
        whole.id.write_direct_chunk((0, 0), raw, mask)

    return hdf5(folder, lambda file: replaced(file, make))


@case("/model_weights/a/a/kernel cannot be read: the chunk at (0, 0) has 24 bytes of 48")
def hdf5_gzip_chunk_that_is_too_short(folder):
    return short_chunk(folder, compression="gzip")


@case("/model_weights/a/a/kernel cannot be read: the chunk at (0, 0) has 24 bytes of 48")
def hdf5_shuffled_and_summed_chunk_that_is_too_short(folder):
    return short_chunk(folder, compression="gzip", shuffle=True, fletcher32=True)


@case("/model_weights/a/a/kernel cannot be read: the chunk at (0, 0) has 24 bytes of 48")
def hdf5_lzf_chunk_that_is_too_short(folder):
    return short_chunk(folder, compression="lzf")


@case("{path} is an HDF5 file without a dataset of numbers")
def hdf5_of_text_alone(folder):
    with h5py.File(folder / "m.h5", "w") as file:
        file.create_dataset("notes/author", data="somebody")
    return folder / "m.h5"


@case("{path}: its model_config is not readable JSON: ")
def hdf5_config_of_garbage(folder):
    return hdf5(folder, lambda file: file.attrs.__setitem__("model_config", "{"))


@case("{path}: its model_config is not readable JSON: ")
def hdf5_config_of_absurd_depth(folder):
    return hdf5(folder, lambda file: file.attrs.__setitem__("model_config", "[" * 60_000))


@case("{path} is damaged, or has unexpected contents (")
def hdf5_layer_names_of_numbers(folder):
    return hdf5(folder, lambda file: file["model_weights"].attrs.__setitem__("layer_names", 3))


@case("{path}: /layers/dense/loop is a group that is linked twice")
def weights_with_groups_in_a_circle(folder):
    path = model(folder / "m.weights.h5", "weights_h5")
    with h5py.File(path, "r+") as file:
        file["layers/dense/loop"] = file["layers"]
    return path


@case("{path}: the variables of layers/dense are not numbered 0 to n")
def weights_with_a_gap_in_their_numbers(folder):
    path = model(folder / "m.weights.h5", "weights_h5")
    with h5py.File(path, "r+") as file:
        file.move("layers/dense/vars/1", "layers/dense/vars/7")
    return path


@case("{path}: 'somewhere/else.h5' lies outside the folder")
def weights_map_that_climbs_out(folder):
    path = model(folder / "w", "weights_json")
    text = (path / "model.weights.json").read_text()
    (path / "model.weights.json").write_text(
        text.replace("model_00000.weights.h5", "somewhere/else.h5"))  # fmt: skip
    return path / "model.weights.json"


@case("is not a map of weights: ")
def weights_map_of_numbers(folder):
    path = model(folder / "w", "weights_json")
    (path / "model.weights.json").write_text('{"weight_map": {"/a": 3}}')
    return path


# npy and npz


@case("{path}/x.npy is not a .npy file of numbers: it holds Python objects")
def npy_with_a_pickle(folder):
    return npy(folder, npy_bytes("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}\n"))


@case("{path}/x.npy is truncated: ")
def npy_that_claims_a_petabyte(folder):
    shape = f"({PETA},)"
    return npy(folder, npy_bytes(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n"))


@case("{path}/x.npy is not a .npy file of numbers: its shape (-4,) is negative")
def npy_of_negative_shape(folder):
    return npy(folder, npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}\n"))


@case("{path}/x.npy is not a .npy file of numbers: ")
def npy_whose_header_is_code(folder):
    return npy(folder, npy_bytes("__import__('os').system('touch hacked')\n"))


@case("{path}/x.npy is not a .npy file of numbers: ")
def npy_header_of_absurd_depth(folder):
    return npy(folder, npy_bytes("(" * 30_000 + "\n"))


@case("{path}/x.npy has the shape [4], not [5]")
def npy_that_its_index_lies_about(folder):
    return npy(folder, GOOD, {"shape": [5]})


@case("{path}/index.json: ../secret.npy lies outside the folder")
def npy_index_that_climbs_out(folder):
    (folder / "secret.npy").write_bytes(GOOD)
    return npy(folder, GOOD, {"file": "../secret.npy"})


@case("{path}/index.json: link.npy lies outside the folder")
def npy_index_that_names_a_link_out(folder):
    (folder / "secret.npy").write_bytes(GOOD)
    path = npy(folder, GOOD, {"file": "link.npy"})
    os.symlink(folder / "secret.npy", path / "link.npy")
    return path


@case("{path}/index.json: 'no_such' is not a dtype")
def npy_index_of_an_unknown_dtype(folder):
    return npy(folder, GOOD, {"dtype": "no_such"})


@case("{path}: w.npy is not a .npy file of numbers: it holds Python objects")
def npz_with_a_pickle(folder):
    return npz(folder, npy_bytes("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}\n"))


@case("{path}: w.npy is truncated: ")
def npz_that_claims_a_petabyte(folder):
    shape = f"({PETA},)"
    return npz(folder, npy_bytes(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n"))


def flipped(data):
    place = data.index(np.arange(3, dtype="f4").tobytes())
    data[place + 1] ^= 1


@case("{path} is damaged: the CRC of x.npy is not the one in the archive")
def npz_with_a_flipped_bit(folder):
    np.savez(folder / "m.npz", x=np.arange(3, dtype="f4"), y=np.ones(3))
    return edited(folder / "m.npz", flipped)


@case("{path} is damaged: the CRC of x.npy is not the one in the archive")
def npz_in_fortran_s_order_with_a_flipped_bit(folder):
    np.savez(folder / "m.npz", x=np.arange(12, dtype="f4").reshape(3, 4, order="F"))
    return edited(folder / "m.npz", flipped)


@case("{path}: x.npy cannot be unpacked: ")
def npz_packed_with_a_wrong_crc(folder):
    np.savez_compressed(folder / "m.npz", x=np.arange(3, dtype="f4"))
    return edited(
        folder / "m.npz",
        lambda data: data.__setitem__(data.index(b"PK\x01\x02") + 16, data[0] ^ 255),
    )


@case("{path} is an archive without arrays")
def npz_whose_directory_says_it_is_empty(folder):
    np.savez(folder / "m.npz", x=np.ones(3))
    return edited(folder / "m.npz", lambda data: data.__setitem__(slice(-14, -6), bytes(8)))


@case("{path}: the entry link.npy is a link, or no file")
def npz_with_a_link(folder):
    np.savez(folder / "m.npz", x=np.ones(3))
    with zipfile.ZipFile(folder / "m.npz", "a") as archive:
        entry = zipfile.ZipInfo("link.npy")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "x.npy")
    return folder / "m.npz"


@case("{path}: the entry '../w.npy' has an unsafe path")
def npz_entry_that_climbs_out(folder):
    return npz(folder, GOOD, "../w.npy")


# safetensors and csv


@case("{path} is truncated, or not a safetensors file")
def safetensors_header_longer_than_the_file(folder):
    return safetensors(folder, entry(), length=1 << 40)


@case("{path}: its header is not readable JSON: ")
def safetensors_header_of_garbage(folder):
    return safetensors(folder, b"{'x': 1}")


@case("{path}: its header is not readable JSON: a name occurs twice")
def safetensors_name_twice(folder):
    one = json.dumps(entry())[1:-1]
    return safetensors(folder, f"{{{one},{one}}}".encode())


@case("{path}: the offsets of x in its header are wrong")
def safetensors_shape_that_lies(folder):
    return safetensors(folder, entry(shape=[PETA]))


@case("{path}: the offsets of y in its header are wrong")
def safetensors_that_overlap(folder):
    return safetensors(folder, {**entry(), "y": entry()["x"]})


@case("{path}: the entry of x is broken")
def safetensors_negative_shape(folder):
    return safetensors(folder, entry(shape=[-2, -2]))


@case("{path}: the entry of x is broken")
def safetensors_unknown_dtype(folder):
    return safetensors(folder, entry(dtype="F13"))


@case("{path} is truncated: x would end at byte ")
def safetensors_cut_short(folder):
    return safetensors(folder, entry(), b"\0" * 9)


@case("{path} has 5 more bytes than its header lists")
def safetensors_with_more_than_it_says(folder):
    return safetensors(folder, entry(), b"\0" * 21)


@case("{path}/model.safetensors.index.json: '../x.safetensors' lies outside the folder")
def safetensors_index_that_climbs_out(folder):
    text = json.dumps({"weight_map": {"x": "../x.safetensors"}})
    (folder / "w").mkdir()
    (folder / "w" / "model.safetensors.index.json").write_text(text)
    return folder / "w"


@case("{path}:2: the rows of a weight are incomplete, or not in order")
def csv_that_claims_a_petabyte(folder):
    rows = f"address,dtype,shape,index,value\nx,float32,{PETA},0,1\n,elements,1,,\n"
    (folder / "m.csv").write_text(rows)
    return folder / "m.csv"


@case("{path}:2: the rows of a weight are incomplete, or not in order")
def csv_of_words(folder):
    rows = "address,dtype,shape,index,value\nx,float32,1,0,one\n,elements,1,,\n"
    (folder / "m.csv").write_text(rows)
    return folder / "m.csv"


# What is not even a file


@case("{path} is empty")
def empty_file(folder):
    Path(folder / "m.keras").write_bytes(b"")
    return folder / "m.keras"


@case("{path} does not match its suffix, or is truncated")
def random_bytes(folder):
    (folder / "m.keras").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "m.keras"


@case("{path}: ")
def link_to_itself(folder):
    os.symlink(folder / "m.keras", folder / "m.keras")
    return folder / "m.keras"


# Checkpoints: an index (a table) and files with data


def checkpoint(folder, edit=lambda bundle, items: None, data=lambda raw: None):
    """A checkpoint whose index entries have been edited, its checksums true."""
    from surgery.formats._tensorflow.sstable import Table, table_of

    path = folder / "c"
    weights = dense_layers(["a"], [4, 3]).weights
    surgery.save(Model(weights), checkpoint=path)
    index = path / "ckpt.index"
    items = dict(Table(index).items())
    edit(path, items)
    index.write_bytes(table_of(sorted(items.items())))
    edited(path / "ckpt.data-00000-of-00001", data)
    return path


def bundle_entry(code=1, shape=(4, 3), shard=0, offset=0, size=48, crc=0):
    from surgery.formats._tensorflow.proto import put_bytes, put_fixed32, put_integer

    dims = b"".join(put_bytes(2, put_integer(1, n)) for n in shape)
    return (
        put_integer(1, code) + put_bytes(2, dims) + put_integer(3, shard)
        + put_integer(4, offset) + put_integer(5, size) + put_fixed32(6, crc)
    )  # fmt: skip


@case("{path}/ckpt.data-00000-of-00001 is damaged: the checksum of a/kernel is not that")
def checkpoint_with_a_flipped_bit(folder):
    def flip(data):
        data[0] ^= 1

    return checkpoint(folder, data=flip)


@case("{path}/ckpt.index is damaged: the block at byte 0 does not match its checksum")
def checkpoint_index_with_a_flipped_bit(folder):
    def flip(data):
        data[3] ^= 1

    path = checkpoint(folder)
    edited(path / "ckpt.index", flip)
    return path


@case("{path}/ckpt.index does not end like an index of TensorFlow")
def checkpoint_index_cut_short(folder):
    path = checkpoint(folder)
    data = (path / "ckpt.index").read_bytes()
    (path / "ckpt.index").write_bytes(data[:-9])
    return path


@case("{path}/ckpt.data-00000-of-00001: No such file or directory")
def checkpoint_without_its_data(folder):
    path = checkpoint(folder)
    (path / "ckpt.data-00000-of-00001").unlink()
    return path


@case("{path}/ckpt.data-00000-of-00001 is truncated: a/kernel would end at byte 1000048")
def checkpoint_offset_that_lies(folder):
    def lie(_, items):
        items[b"a/kernel"] = bundle_entry(offset=1_000_000)

    return checkpoint(folder, lie)


@case("{path}/ckpt.index: a/kernel has 48 bytes, which does not match its shape")
def checkpoint_that_claims_a_petabyte(folder):
    def lie(_, items):
        items[b"a/kernel"] = bundle_entry(shape=(PETA,))

    return checkpoint(folder, lie)


@case("{path}/ckpt.data-00000-of-00001 is truncated: a/kernel would end at byte")
def checkpoint_that_claims_a_petabyte_of_data(folder):
    def lie(_, items):
        items[b"a/kernel"] = bundle_entry(shape=(PETA,), size=4 * PETA)

    return checkpoint(folder, lie)


@case("{path}/ckpt.index is damaged: a shape is [-4]")
def checkpoint_of_negative_shape(folder):
    def lie(_, items):
        items[b"a/kernel"] = bundle_entry(shape=(-4,))

    return checkpoint(folder, lie)


@case("{path}/ckpt.index is damaged: dtype 99 is unknown")
def checkpoint_of_an_unknown_dtype(folder):
    def lie(_, items):
        items[b"a/kernel"] = bundle_entry(code=99)

    return checkpoint(folder, lie)


@case("{path}/ckpt.index: a/kernel lies in shard 7 of 1")
def checkpoint_in_a_shard_that_is_not_there(folder):
    def lie(_, items):
        items[b"a/kernel"] = bundle_entry(shard=7)

    return checkpoint(folder, lie)


@case("{path}/ckpt.data-00000-of-2000000000: No such file or directory")
def checkpoint_of_two_billion_shards(folder):
    from surgery.formats._tensorflow.proto import put_integer

    def lie(_, items):
        items[b""] = put_integer(1, 2_000_000_000)

    return checkpoint(folder, lie)


@case("{path}/ckpt.index: the name b'\\xffodd' is not UTF-8")
def checkpoint_with_a_name_of_bytes(folder):
    def lie(_, items):
        items[b"\xffodd"] = items[b"a/kernel"]

    return checkpoint(folder, lie)


@case("{path}/ckpt.index is big-endian, which is not read")
def checkpoint_big_endian(folder):
    from surgery.formats._tensorflow.proto import put_integer

    def lie(_, items):
        items[b""] = put_integer(1, 1) + put_integer(2, 1)

    return checkpoint(folder, lie)


@case("{path}/ckpt.index needs a newer version of TensorFlow's bundles than is read")
def checkpoint_of_the_future(folder):
    from surgery.formats._tensorflow.proto import put_bytes, put_integer

    def lie(_, items):
        items[b""] = put_integer(1, 1) + put_bytes(3, put_integer(1, 9) + put_integer(2, 9))

    return checkpoint(folder, lie)


@case("{path}/ckpt.index: the parts of a/kernel leave a gap, or overlap")
def checkpoint_whose_parts_overlap(folder):
    from surgery.formats._tensorflow.bundle import _slice_key
    from surgery.formats._tensorflow.proto import put_bytes, put_integer

    def lie(_, items):
        sliced = b""
        for start in (0, 1):
            one = put_bytes(1, put_integer(1, start) + put_integer(2, 2)) + put_bytes(1, b"")
            sliced += put_bytes(7, one)
            items[_slice_key("a/kernel", ((start, 2), (0, -1)))] = bundle_entry(
                shape=(2, 3), size=24
            )
        items[b"a/kernel"] = bundle_entry(size=0) + sliced

    return checkpoint(folder, lie)


def graph(folder, nodes):
    """A checkpoint by objects with that graph."""
    from surgery.formats._tensorflow.bundle_writer import new_bundle
    from surgery.weights.tensor import constant

    (folder / "c").mkdir()
    array = constant(np.ones((4, 3), np.float32))
    writer = new_bundle(
        str(folder / "c/ckpt"), {"a": array}, {"_CHECKPOINTABLE_OBJECT_GRAPH": nodes}
    )
    output = writer.output()
    for tensor, sink in output.tensors:
        sink(0, tensor.numpy().reshape(-1))
    output.finish()
    output.close()
    return folder / "c"


@case("{path}/ckpt.index is damaged: its object graph refers to a missing object")
def checkpoint_whose_objects_are_missing(folder):
    from surgery.formats._tensorflow.proto import put_bytes, put_integer

    return graph(folder, put_bytes(1, put_bytes(1, put_integer(1, 99) + put_bytes(2, b"x"))))


@case("{path}/ckpt.index is damaged: its object graph is nested too deeply")
def checkpoint_whose_objects_are_a_long_chain(folder):
    from surgery.formats._tensorflow.proto import put_bytes, put_integer

    links = (put_bytes(1, put_integer(1, n + 1) + put_bytes(2, b"x")) for n in range(100_000))
    return graph(folder, b"".join(put_bytes(1, link) for link in links) + put_bytes(1, b""))


@case("{path}/ckpt.index is damaged: a message (Graph) is malformed")
def checkpoint_whose_objects_are_garbage(folder):
    return graph(folder, b"\x0a\x7f\x01")


@case("{path} has several checkpoints or none")
def checkpoint_file_that_names_none(folder):
    path = checkpoint(folder)
    (path / "checkpoint").write_text("all_model_checkpoint_paths: 'x'\n")
    (path / "other.index").write_bytes((path / "ckpt.index").read_bytes())
    return path


@case("{path}/passwd: no such checkpoint")
def checkpoint_file_that_climbs_out(folder):
    path = checkpoint(folder)
    (path / "checkpoint").write_text('model_checkpoint_path: "../../../../etc/passwd"\n')
    return path


# SavedModels


def saved_model(folder, pb=None):
    from surgery.formats._tensorflow.proto import put_bytes, put_integer

    path = checkpoint(folder)
    (path / "variables").mkdir()
    for name in ("index", "data-00000-of-00001"):
        (path / f"ckpt.{name}").rename(path / f"variables/variables.{name}")
    (path / "checkpoint").unlink()
    tags = put_bytes(2, put_bytes(1, put_bytes(4, b"serve")))
    (path / "saved_model.pb").write_bytes(put_integer(1, 1) + tags if pb is None else pb)
    return path


@case("{path} is damaged, or not a SavedModel: a field is longer than its message")
def savedmodel_cut_short(folder):
    path = saved_model(folder)
    data = (path / "saved_model.pb").read_bytes()
    (path / "saved_model.pb").write_bytes(data[:-1])
    return path


@case("{path} is damaged, or not a SavedModel: saved_model.pb has no graph")
def savedmodel_without_a_graph(folder):
    return saved_model(folder, b"")


def nested(depth):
    """Messages in messages: 1 in 1 in 1..."""
    from surgery.formats._tensorflow.proto import put_length

    heads, size = [], 0
    for _ in range(depth):
        heads.append(put_length(1, size))
        size += len(heads[-1])
    return b"".join(reversed(heads))


@case("{path} is damaged, or not a SavedModel: messages are nested more than 100 deep")
def savedmodel_nested_past_any_depth(folder):
    from surgery.formats._tensorflow.proto import put_bytes, put_integer

    tags = put_bytes(1, put_bytes(4, b"serve"))
    path = saved_model(folder)
    graph = put_integer(1, 1) + put_bytes(2, tags + put_bytes(5, nested(100_000)))
    (path / "saved_model.pb").write_bytes(graph)
    return path


@case("{path}/assets/secret is a link, which is not followed")
def savedmodel_with_a_link_out(folder):
    path = saved_model(folder)
    (path / "assets").mkdir()
    os.symlink("/etc/hostname", path / "assets/secret")
    return path


@case("{path}: the text form (saved_model.pbtxt) is not read")
def savedmodel_as_text(folder):
    path = saved_model(folder)
    (path / "saved_model.pb").unlink()
    (path / "saved_model.pbtxt").write_text("saved_model_schema_version: 1\n")
    return path


@case("{path} has no variables")
def savedmodel_without_variables(folder):
    path = saved_model(folder)
    (path / "variables/variables.index").unlink()
    return path


@case("{path}: its Keras metadata is not readable JSON")
def savedmodel_with_keras_metadata_of_absurd_depth(folder):
    from surgery.formats._tensorflow.proto import put_bytes

    path = saved_model(folder)
    node = put_bytes(3, b"root") + put_bytes(5, b"[" * 100_000)
    (path / "keras_metadata.pb").write_bytes(put_bytes(1, node))
    return path


def tar(folder, members):
    path = folder / "m.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=9) as archive:
        for info, size in members:
            archive.addfile(info, Zeros(size))
    return path


class Zeros:
    """A file of so many zeros."""

    def __init__(self, size):
        self.left = size

    def read(self, count):
        count = min(count, self.left)
        self.left -= count
        return bytes(count)


def tar_info(name, size=0, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info, size


@case("{path} would unpack to more than 200 times its size")
def tar_bomb(folder):
    size = 190 << 20
    bomb = [tar_info(f"x{number}", size) for number in range(2)]
    return tar(folder, [tar_info("saved_model.pb"), *bomb])


@case("{path} cannot be unpacked")
def tar_that_climbs_out(folder):
    return tar(folder, [tar_info("saved_model.pb"), tar_info("../../evil", 3)])


@case("{path}: x is neither a file nor a folder")
def tar_with_a_link(folder):
    link = tar_info("x", kind=tarfile.SYMTYPE, link="/etc/passwd")
    return tar(folder, [tar_info("saved_model.pb"), link])


# Frozen graphs


def frozen(folder, *nodes):
    from surgery.formats._tensorflow.proto import put_bytes

    path = folder / "m.pb"
    path.write_bytes(b"".join(put_bytes(1, node) for node in nodes))
    return path


def const(name, shape, content=b"", claimed=None):
    from surgery.formats._tensorflow.proto import put_bytes, put_integer, put_length

    dims = b"".join(put_bytes(2, put_integer(1, n)) for n in shape)
    head = put_length(4, len(content) if claimed is None else claimed)
    proto = put_integer(1, 1) + put_bytes(2, dims) + head + content
    attribute = put_bytes(1, b"value") + put_bytes(2, put_bytes(8, proto))
    return put_bytes(1, name) + put_bytes(2, b"Const") + put_bytes(5, attribute)


@case("{path} is damaged, or not a graph: a tensor of")
def graph_that_claims_a_petabyte(folder):
    return frozen(folder, const(b"w", [PETA]))


@case("{path} is damaged, or not a graph: a tensor has 3 bytes, which does not match its shape")
def graph_whose_tensor_is_too_short(folder):
    return frozen(folder, const(b"w", [2], b"abc"))


@case("{path} is damaged, or not a graph: a field is longer than its message")
def graph_whose_tensor_lies(folder):
    return frozen(folder, const(b"w", [2], b"abcdefgh", 1 << 40))


@case("{path} is damaged, or not a graph: two constants are called 'w'")
def graph_with_one_name_twice(folder):
    return frozen(folder, const(b"w", [2], b"abcdefgh"), const(b"w", [2], b"abcdefgh"))


@case("{path} is damaged, or not a graph: a tensor has the shape [-2]")
def graph_of_negative_shape(folder):
    return frozen(folder, const(b"w", [-2], b"abcdefgh"))


@case("{path} is damaged, or not a graph: messages are nested more than 100 deep")
def graph_nested_past_any_depth(folder):
    from surgery.formats._tensorflow.proto import put_bytes

    attribute = put_bytes(1, b"deep") + put_bytes(2, nested(1000))
    return frozen(folder, const(b"w", [2], b"abcdefgh") + put_bytes(5, attribute))
