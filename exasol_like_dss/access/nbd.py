"""Reading a disk that ``qemu-nbd`` serves: whatever QEMU reads, as if it were raw.

Source: NetworkBlockDevice/nbd, doc/proto.md (fixed newstyle negotiation, structured replies, ``base:allocation``).
All numbers are big-endian.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from exasol_like_dss.lib.errors import DssError

_OPTION_MAGIC = 0x49484156454F5054
_REPLY_MAGIC = 0x3E889045565A9
_REQUEST_MAGIC = 0x25609513
_CHUNK_MAGIC = 0x668E33EF
_GO, _STRUCTURED_REPLY, _SET_META_CONTEXT = 7, 8, 10
_ACK, _INFO, _META_CONTEXT = 1, 3, 4
_READ, _DISCONNECT, _BLOCK_STATUS = 0, 2, 7
_DATA, _HOLE, _STATUS = 1, 2, 5
_IS_ERROR = 1 << 15
_DONE = 1
#: "Don't fragment": the answer is one piece. Without it, qemu-nbd hangs up where it can't read.
_WHOLE = 1 << 2
_ZEROS = 2
_FLAGS = 3  # fixed newstyle, no zeros behind the negotiation
_MOST_STATUS_BYTES = (1 << 32) - (1 << 20)
_REPLY_DEADLINE_S = 60.0


class NbdDisk:
    """The only disk of a server on a Unix socket, read-only. Not for several threads at a time.

    Raises ``DssError`` when it can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_REPLY_DEADLINE_S)
        self._cookie = 0
        try:
            self._socket.connect(str(path))
            self.size_bytes = self._negotiate()
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        try:
            self._socket.sendall(struct.pack(">IHHQQI", _REQUEST_MAGIC, 0, _DISCONNECT, 0, 0, 0))
        except OSError:  # it has ended before
            pass
        finally:
            self._socket.close()

    def read(self, offset: int, size_bytes: int) -> bytes:
        """``size_bytes`` (at most 32 MiB) at ``offset``."""
        data = bytearray(size_bytes)
        for kind, payload in self._request(_READ, offset, size_bytes, flags=_WHOLE):
            if kind == _DATA:
                (at,) = struct.unpack_from(">Q", payload)
                data[at - offset : at - offset + len(payload) - 8] = payload[8:]
            elif kind != _HOLE and payload:
                raise DssError("qemu-nbd answered a request in a way that nobody knows.")
        if len(data) != size_bytes:
            raise DssError("qemu-nbd sent data that nobody asked for.")
        return bytes(data)

    def status(self, offset: int, size_bytes: int) -> list[tuple[int, bool]]:
        """Sizes of the extents from ``offset`` on, and whether they are zeros. They may cover less than asked for."""
        extents: list[tuple[int, bool]] = []
        for kind, payload in self._request(_BLOCK_STATUS, offset, min(size_bytes, _MOST_STATUS_BYTES)):
            if kind == _STATUS:
                extents += [
                    (length, bool(flags & _ZEROS)) for length, flags in struct.iter_unpack(">II", bytes(payload[4:]))
                ]
        if not extents or any(not length for length, _ in extents):
            raise DssError("qemu-nbd doesn't tell what of the disk is in use.")
        return extents

    def _request(self, kind: int, offset: int, size_bytes: int, *, flags: int = 0) -> list[tuple[int, memoryview]]:
        """The chunks of the answer: type and content."""
        self._cookie += 1
        chunks: list[tuple[int, memoryview]] = []
        try:
            self._socket.sendall(struct.pack(">IHHQQI", _REQUEST_MAGIC, flags, kind, self._cookie, offset, size_bytes))
            said = 0
            while not said & _DONE:
                magic, said, chunk, cookie, length = struct.unpack(">IHHQI", self._receive(20))
                if (magic, cookie) != (_CHUNK_MAGIC, self._cookie):
                    raise DssError("qemu-nbd answered a request in a way that nobody knows.")
                payload = memoryview(self._receive(length))
                if chunk & _IS_ERROR:
                    text = bytes(payload[6 : 6 + int.from_bytes(payload[4:6], "big")]).decode(errors="replace")
                    raise DssError(
                        f"The disk can't be read at byte {offset}: {text or 'input/output error'}.",
                        hint="The image is damaged, or a disk is failing: compare the image's SHA-256.",
                    )
                chunks.append((chunk, payload))
        except OSError as error:
            raise DssError(f"qemu-nbd ended, or does not answer: {error}.") from error
        return chunks

    def _negotiate(self) -> int:
        """Returns the size of the disk."""
        magic, option_magic, _ = struct.unpack(">8sQH", self._receive(18))
        if magic != b"NBDMAGIC" or option_magic != _OPTION_MAGIC:
            raise DssError("qemu-nbd greets in a way that nobody knows.")
        self._socket.sendall(struct.pack(">I", _FLAGS))
        self._option(_STRUCTURED_REPLY, b"")
        context = b"base:allocation"
        asked = struct.pack(">III", 0, 1, len(context)) + context
        if not any(kind == _META_CONTEXT for kind, _ in self._option(_SET_META_CONTEXT, asked)):
            raise DssError("qemu-nbd doesn't tell what of the disk is in use.", hint="QEMU 3.0 or newer is needed.")
        for kind, data in self._option(_GO, struct.pack(">IH", 0, 0)):
            if kind == _INFO and data[:2] == b"\0\0":
                return int.from_bytes(data[2:10], "big")
        raise DssError("qemu-nbd doesn't tell how large the disk is.")

    def _option(self, option: int, data: bytes) -> list[tuple[int, bytes]]:
        self._socket.sendall(struct.pack(">QII", _OPTION_MAGIC, option, len(data)) + data)
        replies: list[tuple[int, bytes]] = []
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._receive(20))
            content = bytes(self._receive(length))
            if magic != _REPLY_MAGIC or kind >> 31:
                raise DssError("qemu-nbd refuses to be asked.", hint="QEMU 3.0 or newer is needed.")
            if kind == _ACK:
                return replies
            replies.append((kind, content))

    def _receive(self, size_bytes: int) -> bytearray:
        data = bytearray(size_bytes)
        view, done = memoryview(data), 0
        while done < size_bytes:
            got = self._socket.recv_into(view[done:])
            if not got:
                raise ConnectionError("the connection was closed")
            done += got
        return data
