"""Synthesise speech with espeak-ng in a separate process: JSON request on standard input, samples on standard output.

espeak-ng has state that cannot be reset (such as the phase of its pitch flutter), so its output depends on everything
spoken before in the same process. Each batch of lines is therefore synthesised in a new process: the same batch gives
the same samples, whatever the caller's threads do.

`voices.py` starts it as `python -I espeak.py`, in the folder that contains `espeak-ng-data`; it needs only the
standard library.
"""

import ctypes
import json
import struct
import sys

SAMPLE_RATE = 22_050  # Hz, espeak-ng's own
# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def main() -> None:
    """Speak every line of the request; each answer is a count (uint32) followed by that many int16 samples."""
    request = json.load(sys.stdin)
    library = ctypes.CDLL(request["library"])
    # "." instead of the full path: espeak-ng truncates paths at 160 characters.
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, b".", _INITIALIZE_DONT_EXIT)
    if rate != SAMPLE_RATE:
        sys.exit(f"espeak_Initialize returned {rate}, expected {SAMPLE_RATE} Hz")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # espeak_Initialize seeds with the clock
    chunks: list[bytes] = []

    @_Callback  # type: ignore[untyped-decorator]
    def collect(samples: object, count: int, _events: object) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]
        return 0

    library.espeak_SetSynthCallback(collect)
    for line in request["lines"]:
        if library.espeak_SetVoiceByName(line["voice"].encode()) != 0:
            sys.exit(f"espeak-ng has no voice {line['voice']!r}")
        for parameter, value in ((_RATE, line["rate"]), (_PITCH, line["pitch"]), (_RANGE, line["range"])):
            library.espeak_SetParameter(parameter, value, 0)
        text = line["text"].encode() + b"\0"
        chunks.clear()
        if library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _CHARS_UTF8, None, None) != 0:
            sys.exit(f"espeak-ng could not speak {line['text']!r}")
        samples = b"".join(chunks)
        sys.stdout.buffer.write(struct.pack("=I", len(samples) // 2) + samples)


if __name__ == "__main__":
    main()
