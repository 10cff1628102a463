"""A guitar amplifier's model over a recording, in blocks as a sound card asks for them:

lstm-edge convert amp.json -o amp.lstm          (GuitarML, AIDA-X, NAM's LSTM, RTNeural)
python guitar_amp.py amp.lstm dry.wav wet.wav
"""

import sys
import time
import wave

import numpy as np

import lstm_edge

BLOCK = 64


def main(model_path: str, dry: str, wet: str) -> None:
    model = lstm_edge.load(model_path)
    stream = model.stream()
    slowest = 0.0
    with wave.open(dry, "rb") as source, wave.open(wet, "wb") as target:
        rate = source.getframerate()
        expected = model.metadata.get("sample_rate", rate)
        if source.getnchannels() != 1 or source.getsampwidth() != 2 or rate != expected:
            raise SystemExit(f"{dry}: expected one channel of 16 bits at {expected:g} Hz")
        target.setparams(source.getparams())
        while data := source.readframes(BLOCK):
            start = time.perf_counter()
            samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768
            out = stream.run(samples[:, None])  # (samples, 1): a frame is a sample; any block gives the same bits
            slowest = max(slowest, time.perf_counter() - start)
            target.writeframes(np.clip(np.rint(out * 32768), -32768, 32767).astype("<i2").tobytes())
    print(f"slowest block of {BLOCK} samples: {1e6 * slowest:.0f} us of the {1e6 * BLOCK / rate:.0f} us it lasts")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
