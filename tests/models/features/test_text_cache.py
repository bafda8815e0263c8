import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fspo_jax.errors import ConfigError, EncoderError
from fspo_jax.models.features import cache as text_cache
from fspo_jax.models.features.cache import TextCache

WIDTH = 6

WRITER = """
import sys
import numpy as np
from fspo_jax.models.features.cache import TextCache
directory, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
compute = lambda missing: np.array([[len(t)] * 5 + [sum(map(ord, t))] for t in missing], float)
cache = TextCache(directory, "f", 6, compute)
print("ready", flush=True)
for i in range(count):
    texts = [f"{name} {i} {j}" for j in range(5)] + [f"shared {i}"]
    assert (cache.rows(texts) == compute(texts)).all()
"""


def compute(texts):
    return np.array([[len(text)] * 5 + [sum(map(ord, text))] for text in texts], float)


def forbidden(texts):
    pytest.fail(f"computed again: {texts}")


def opened(directory, compute=compute, fingerprint="f"):
    return TextCache(directory, fingerprint, WIDTH, compute)


def write(directory, name, count=20):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), name, str(count)], stdout=subprocess.PIPE
    )


def test_rows_each_text_is_computed_once_and_found_by_another_cache(tmp_path):
    calls = []
    cache = opened(tmp_path, lambda texts: (calls.append(texts), compute(texts))[1])
    rows = cache.rows(["a", "bb", "a"])
    np.testing.assert_array_equal(rows, compute(["a", "bb", "a"]))
    assert rows.dtype == np.float32 and calls == [["a", "bb"]]
    np.testing.assert_array_equal(cache.rows(["bb"]), compute(["bb"]))
    assert calls == [["a", "bb"]]
    other = opened(tmp_path, forbidden)
    np.testing.assert_array_equal(other.rows(["a", "bb"]), compute(["a", "bb"]))
    with pytest.raises(pytest.fail.Exception, match=r"computed again: \['c'\]"):
        other.rows(["a", "c"])
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        opened(tmp_path, forbidden, fingerprint="another").rows(["a"])


def test_rows_new_texts_of_another_process_are_noticed(tmp_path):
    first, second = opened(tmp_path, forbidden), opened(tmp_path)
    second.rows(["late"])
    np.testing.assert_array_equal(first.rows(["late"]), compute(["late"]))


def test_rows_many_segments_are_merged_without_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(text_cache, "MAX_SEGMENTS", 4)
    computed = []
    reader, cache = (
        opened(tmp_path, how)
        for how in (forbidden, lambda texts: (computed.extend(texts), compute(texts))[1])
    )
    for i in range(30):
        cache.rows([f"text {i}"])
        if i == 10:
            reader.rows(["text 3"])
    assert len(list((tmp_path / "f").glob("*.segment"))) <= 5
    texts = [f"text {i}" for i in range(30)]
    for known in (cache, reader, opened(tmp_path, forbidden)):
        np.testing.assert_array_equal(known.rows(texts), compute(texts).astype(np.float32))
    assert computed == texts  # once each


def test_rows_stored_while_others_are_merged_stay_known(tmp_path, monkeypatch):
    monkeypatch.setattr(text_cache, "MAX_SEGMENTS", 4)
    computed = []
    cache = opened(tmp_path, lambda texts: (computed.extend(texts), compute(texts))[1])
    write_segment, meanwhile = cache._write_segment, []

    def slow(parts):
        if (
            not isinstance(parts, list) and not meanwhile
        ):  # merges; another thread stores a row in the meantime
            meanwhile.append(cache.rows(["late"]))
            monkeypatch.setattr(cache, "_read_new_segments", lambda: None)
        return write_segment(parts)

    monkeypatch.setattr(cache, "_write_segment", slow)
    for i in range(6):
        cache.rows([f"text {i}"])
    assert meanwhile
    np.testing.assert_array_equal(cache.rows(["late"]), compute(["late"]))
    assert computed.count("late") == 1


@pytest.mark.slow
def test_rows_several_processes_write_at_once(tmp_path):
    writers = [write(tmp_path, f"writer{i}", 30) for i in range(4)]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0] * 4
    cache = opened(tmp_path, forbidden)
    texts = [f"writer{w} {i} {j}" for w in range(4) for i in range(30) for j in range(5)]
    texts += [f"shared {i}" for i in range(30)]
    np.testing.assert_array_equal(cache.rows(texts), compute(texts).astype(np.float32))


@pytest.mark.slow
def test_rows_killed_writers_leave_a_readable_cache(tmp_path):
    for turn in range(6):
        writer = write(tmp_path, f"turn{turn}", 10_000)
        writer.stdout.readline()
        time.sleep(0.02 + 0.03 * turn)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
    cache = opened(tmp_path)  # a warning about a damaged segment would be an error
    assert cache._places
    texts = [f"turn{t} {i} {j}" for t in range(6) for i in range(5) for j in range(5)]
    np.testing.assert_array_equal(cache.rows(texts), compute(texts).astype(np.float32))


def changes(data: bytes):
    """Damaged versions of a file: cut anywhere, longer, other bytes anywhere, empty, and gone."""
    yield from (data[:size] for size in (0, 10, len(data) // 2, len(data) - 3))
    yield data + b"more"
    yield from (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data), 7))
    yield np.full(len(data) // 4, np.nan, np.float32).tobytes()
    yield None


@pytest.mark.filterwarnings("ignore:.*is damaged and ignored")
def test_rows_a_file_that_changes_before_or_while_it_is_used_costs_time_only(tmp_path):
    opened(tmp_path).rows(["a", "b"])
    (segment,) = (tmp_path / "f").glob("*.segment")
    data = segment.read_bytes()
    for change in changes(data):
        for path in (tmp_path / "f").glob("*.segment"):
            path.unlink()
        segment.write_bytes(data)
        live = opened(tmp_path)  # knows the segment, but has read no row
        segment.unlink() if change is None else segment.write_bytes(change)
        for cache in (live, opened(tmp_path)):
            np.testing.assert_array_equal(cache.rows(["b", "a", "c"]), compute(["b", "a", "c"]))


def test_rows_a_damaged_file_is_named(tmp_path):
    opened(tmp_path).rows(["a", "b"])
    (segment,) = (tmp_path / "f").glob("*.segment")
    live = opened(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-5])
    with pytest.warns(UserWarning, match=f"{segment.name} is damaged and ignored: it has another size"):
        opened(tmp_path)
    segment.write_bytes(b"x" * 1000)
    with pytest.warns(UserWarning, match=f"{segment.name} is damaged and ignored: a row is not as it was"):
        live.rows(["a"])


def test_rows_a_cache_that_is_deleted_while_it_is_used_is_created_again(tmp_path):
    cache = opened(tmp_path / "cache")
    cache.rows(["a"])
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(cache.rows(["a", "b"]), compute(["a", "b"]))
    assert len(list((tmp_path / "cache" / "f").glob("*.segment"))) == 1


def test_cache_is_for_its_owner_and_its_keys_need_its_secret(tmp_path, monkeypatch):
    monkeypatch.setattr(text_cache, "MAX_SEGMENTS", 2)
    cache = opened(tmp_path / "deep" / "cache")
    for text in "abcd":
        cache.rows([text])
    for path in (tmp_path / "deep", *(tmp_path / "deep").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    (tmp_path / "other").mkdir()
    shutil.copytree(cache.directory, tmp_path / "other" / "f")
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        opened(tmp_path / "other", forbidden).rows(["a"])
    shutil.copy(cache.directory.parent / "secret", tmp_path / "other" / "secret")
    opened(tmp_path / "other", forbidden).rows(["a"])


def test_rows_full_disk_raises_and_leaves_nothing_behind(tmp_path, monkeypatch):
    cache = opened(tmp_path)
    cache.rows(["kept"])

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EncoderError, match=r"No space left on device.*FSPO_CACHE"):
            cache.rows(["new"])
    assert len(list((tmp_path / "f").iterdir())) == 1
    np.testing.assert_array_equal(cache.rows(["new", "kept"]), compute(["new", "kept"]))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO, errno.ENOTDIR, errno.ENOSPC])
def test_rows_broken_file_system_raises_an_encoder_error_with_advice_that_fits(tmp_path, monkeypatch, number):
    cache = opened(tmp_path)

    def broken(*given, **named):
        raise OSError(number, os.strerror(number))

    for module, name in ((os, "fsync"), (Path, "unlink")):
        monkeypatch.setattr(module, name, broken)
    with pytest.raises(EncoderError, match=os.strerror(number)) as caught:
        cache.rows(["new"])
    assert ("Free some disk space" in str(caught.value)) == (number == errno.ENOSPC)
    assert "FSPO_CACHE" in str(caught.value)


def test_text_cache_damaged_secret_gives_one_advice(tmp_path):
    opened(tmp_path).rows(["a"])
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(EncoderError, match=r"secret has 5 bytes, not 32.*Delete the directory") as caught:
        opened(tmp_path)
    assert "FSPO_CACHE" not in str(caught.value) and "disk" not in str(caught.value)


@pytest.mark.parametrize("rows", [np.zeros((1, 3)), np.full((1, WIDTH), np.nan)])
def test_rows_bad_computation_is_not_stored(tmp_path, rows):
    cache = opened(tmp_path, lambda texts: rows)
    with pytest.raises(EncoderError, match="Nothing was stored"):
        cache.rows(["x"])
    assert not list((tmp_path / "f").iterdir())


def test_text_cache_unusable_directory_raises(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for path in ("file", "pipe", "/dev/null", "nul\0nul", "x" * 5000, "\ud800"):
        with pytest.raises(EncoderError, match="cannot be used") as caught:
            opened(tmp_path / path)
        str(caught.value).encode()  # it can be printed


def test_rows_threads_share_a_cache(tmp_path):
    cache = opened(tmp_path)
    texts = [f"text {i}" for i in range(60)]
    wrong = []

    def work(seed):
        generator = np.random.default_rng(seed)
        for _ in range(20):
            part = list(generator.choice(texts, 8))
            if not np.array_equal(cache.rows(part), compute(part).astype(np.float32)):
                wrong.append(part)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


MEMORY = """
import sys
import numpy as np
from fspo_jax.models.features.cache import TextCache
texts = [f"text number {i}" for i in range(100_000)]
generator = np.random.default_rng(0)
cache = TextCache(sys.argv[1], "f", 411, lambda t: generator.normal(size=(len(t), 411)))
for start in range(0, 100_000, 10_000):
    cache.rows(texts[start : start + 10_000])
again = TextCache(sys.argv[1], "f", 411, None)
for start in range(0, 100_000, 10_000):
    again.rows(texts[start : start + 10_000])
status = open("/proc/self/status").read()  # getrusage would count the parent before exec
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc/self/status")
def test_rows_hundred_thousand_texts_stay_below_the_memory_bar(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 1500  # MB, resident set at its largest


def sizes(directory):
    return {path: path.stat().st_size for path in directory.glob("*/*.segment")}


def test_a_directory_stays_below_its_bound_and_keeps_what_was_used_last(tmp_path, monkeypatch):
    """The bound holds for all folders of a directory together; a text whose row is gone is computed again."""
    first = opened(tmp_path, fingerprint="old")
    first.rows(["a"])
    one = sum(sizes(tmp_path).values())
    monkeypatch.setenv("FSPO_CACHE_GB", str(3.5 * one / 1e9))
    cache = opened(tmp_path, fingerprint="new")
    for text in ("b", "c"):
        cache.rows([text])
    time.sleep(0.02)  # times of files are that coarse
    opened(tmp_path, forbidden, "old").rows(["a"])  # used again, so "b" is the oldest now
    for text in ("d", "e"):
        time.sleep(0.02)
        cache.rows([text])
        assert sum(sizes(tmp_path).values()) <= 3.5 * one
    opened(tmp_path, forbidden, "old").rows(["a"])
    opened(tmp_path, forbidden, "new").rows(["d", "e"])
    for gone in ("b", "c"):
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            opened(tmp_path, forbidden, "new").rows([gone])
        np.testing.assert_array_equal(cache.rows([gone]), compute([gone]))


def test_nothing_is_kept_with_a_bound_of_zero_and_everything_without_a_bound(tmp_path, monkeypatch):
    for bound, kept in (("0", 0), ("inf", 1)):
        monkeypatch.setenv("FSPO_CACHE_GB", bound)
        cache = opened(tmp_path / bound)
        for _ in range(2):
            np.testing.assert_array_equal(cache.rows(["a", "b"]), compute(["a", "b"]))
        assert len(sizes(tmp_path / bound)) == kept


@pytest.mark.parametrize("given", ["much", "-1", "nan", "20 GB"])
def test_a_bound_that_is_no_size_is_refused(tmp_path, monkeypatch, given):
    monkeypatch.setenv("FSPO_CACHE_GB", given)
    with pytest.raises(ConfigError, match=f"FSPO_CACHE_GB is '{given}'.*such as 20"):
        opened(tmp_path)


@pytest.mark.slow
def test_processes_that_delete_each_others_rows_get_the_right_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("FSPO_CACHE_GB", "1e-6")  # 1,000 bytes: about three segments
    writers = [write(tmp_path, f"writer{i % 2}", 30) for i in range(3)]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0] * 3
    opened(tmp_path).rows(["last"])
    assert sum(sizes(tmp_path).values()) <= 1000
