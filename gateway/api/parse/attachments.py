"""The sound and the PDF files of a message: only what came inside the request, because a link may cost anything."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from gateway.api.parse.messages import REFUSED, Attachment, decode
from gateway.errors import InvalidRequest
from gateway.images.audio import FORMATS, audio_seconds
from gateway.images.pdf import pdf_pages
from gateway.routing.capabilities import AUDIO, PDF
from gateway.routing.query import QueryMedia

PDF_TYPE = "application/pdf"
LONGEST_TYPE = 256
NO_MEDIA = QueryMedia()


class _Audio(msgspec.Struct, forbid_unknown_fields=True):
    data: str
    format: str


class _InlineFile(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None
    file_id: Raw = Raw()
    file_url: Raw = Raw()
    url: Raw = Raw()


_AUDIO = msgspec.json.Decoder(_Audio)
_FILE = msgspec.json.Decoder(_InlineFile)


@dataclass(slots=True)
class AttachmentCount:
    """What was attached so far, as a bill sees it. `needs` are bits of `gateway.routing.capabilities`."""

    most_bytes: int
    media: QueryMedia = NO_MEDIA
    needs: int = 0

    def read(self, attachment: Attachment, where: str) -> str:
        """Count an attachment, and return the text of it that a model may read: its name.

        Raises InvalidRequest (400, or 413 for more bytes than are accepted), naming the member below `where`.
        """
        if attachment.type == "input_audio":
            self._read_audio(attachment.value, f"{where}.input_audio")
            return ""
        return self._read_file(attachment.value, f"{where}.file")

    def _read_audio(self, raw: Raw, where: str) -> None:
        audio = decode(_AUDIO, raw, where)
        if audio.format not in FORMATS:
            what = f"{where}.format: {audio.format[:40]!r} is not one of {', '.join(FORMATS)}"
            raise InvalidRequest(f"{what}: the length of other sound cannot be bounded", param=f"{where}.format")
        if audio.data[:5].lower() == "data:":
            audio.data = audio.data.partition(",")[2]
        seconds, most = audio_seconds(self._decoded(audio.data, f"{where}.data"))
        media = self.media
        self.media = media._replace(seconds=media.seconds + seconds, most_seconds=media.most_seconds + most)
        self.needs |= AUDIO

    def _read_file(self, raw: Raw, where: str) -> str:
        file = decode(_FILE, raw, where)
        for name, value in (("file_id", file.file_id), ("file_url", file.file_url), ("url", file.url)):
            if bytes(memoryview(value)) not in (b"", b"null", b'""'):
                what = f"{where}.{name}: a file that is not in the request has a cost that no budget could cover"
                raise InvalidRequest(f"{what}; send its bytes as file_data", param=f"{where}.{name}", code=REFUSED)
        if not file.file_data:
            what = f"{where}.file_data is missing: send the file as data:{PDF_TYPE};base64,..."
            raise InvalidRequest(what, param=f"{where}.file_data", code="missing_required_parameter")
        payload = _payload(file.file_data, f"{where}.file_data")
        pages, text = pdf_pages(self._decoded(payload, f"{where}.file_data"))
        media = self.media
        self.media = media._replace(pages=media.pages + pages, page_text_bytes=media.page_text_bytes + text)
        self.needs |= PDF
        return file.filename or ""

    def _decoded(self, payload: str, where: str) -> bytes:
        try:
            data = _bytes_of(payload)
        except ValueError:
            what = f"{where} is not base64: a link or another text has a cost that cannot be known"
            raise InvalidRequest(what, param=where, code=REFUSED) from None
        if not data:
            raise InvalidRequest(f"{where} is empty", param=where)
        if len(data) > self.most_bytes:
            what = f"{where} has {len(data):,} bytes; at most {self.most_bytes:,} are accepted"
            raise InvalidRequest(what, param=where, code="file_too_large", status=413)
        return data


def _bytes_of(payload: str) -> bytes:
    """Decode base64 that may be wrapped into lines or lack its padding. Raises ValueError."""
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        clean = "".join(payload.split())
    return base64.b64decode(clean + "=" * (-len(clean) % 4), validate=True)


def _payload(data: str, where: str) -> str:
    """Return the base64 of a PDF's data URL, or of a PDF without one. Raises InvalidRequest for anything else."""
    if data[:5].lower() != "data:":
        if data.startswith("JVBER"):  # %PDF in base64
            return data
        what = f"{where}: {data[:40]!r} is not inline data: send data:{PDF_TYPE};base64,..."
        raise InvalidRequest(what, param=where, code=REFUSED)
    head, _, payload = data[: LONGEST_TYPE + 1].partition(",")
    media_type, *parameters = (part.strip().lower() for part in head[5:].split(";"))
    if media_type != PDF_TYPE or not parameters or parameters[-1] != "base64":
        what = f"{where}: {head[:60]!r} is not {PDF_TYPE} in base64; of other files the cost cannot be known"
        raise InvalidRequest(what, param=where, code=REFUSED)
    return data[len(head) + 1 :] if payload or len(data) > len(head) else ""
