"""What a model says of a microphone, frame by frame: python microphone.py vad.lstm

The model takes frames of sound and says its rate, as Silero VAD does (`lstm-edge convert ... --rate 16000`, or its own `--set sr=16000`).
Needs sounddevice: pip install 'lstm-edge[audio]', and on a Raspberry Pi apt install libportaudio2. --file plays a recording of 16 bits instead.
"""

from __future__ import annotations

import argparse
import math
import wave
from collections.abc import Iterator

import numpy as np

import lstm_edge


def from_microphone(rate: int, width: int, device: str | None) -> Iterator[bytes]:
    import sounddevice

    with sounddevice.RawInputStream(rate, width, device, channels=1, dtype="int16") as microphone:
        while True:
            data, lost = microphone.read(width)
            if lost:
                print("too slow: samples were lost")
            yield bytes(data)


def from_file(path: str, rate: int, width: int) -> Iterator[bytes]:
    with wave.open(path, "rb") as file:
        found = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if found != (rate, 1, 2):
            raise SystemExit(f"{path}: expected {rate} Hz, one channel, 2 bytes a sample, found {found}")
        while len(data := file.readframes(width)) == 2 * width:
            yield data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.lstm")
    parser.add_argument("--file", metavar="SOUND.wav", help="a recording in place of the microphone")
    parser.add_argument("--device", help="a microphone by name; python -m sounddevice lists them")
    given = parser.parse_args()
    model = lstm_edge.load(given.model)
    rate = int(model.metadata.get("sample_rate", 0))
    if not rate or len(model.inputs) != 1:
        raise SystemExit(f"{given.model}: expected one input, of sound whose rate the model says (convert --rate)")
    shape = [size for size in model.inputs[0].shape if size not in ("batch", "frames")]
    width = math.prod(shape)
    stream = model.stream()
    frames = from_file(given.file, rate, width) if given.file else from_microphone(rate, width, given.device)
    try:
        for n, data in enumerate(frames):
            samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768
            answer = stream.step(samples.reshape(shape))
            value = 0.0 if answer is None else float(np.ravel(answer)[0])
            print(f"{n * width / rate:9.3f} s  {value:6.3f}  {'#' * round(40 * min(max(value, 0.0), 1.0))}", flush=True)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
