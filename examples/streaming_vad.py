"""Speech in a recording, found while it arrives: python streaming_vad.py vad.lstm speech.wav

vad.lstm is Silero VAD, converted once; its 64 samples of overlap and its LSTM's state are kept by the stream:

    lstm-edge convert silero_vad_16k_op15.onnx -o vad.lstm --shape input=1,576 --set sr=16000 --overlap input=64
"""

import sys
import wave

import numpy as np

import lstm_edge

RATE, FRAME, SPEECH = 16000, 512, 0.5


def frames(path: str):
    """Frames of 512 samples, float32 in [-1, 1), as a microphone would bring them."""
    with wave.open(path, "rb") as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise SystemExit(f"{path}: expected {RATE} Hz, one channel, 16 bits")
        while len(data := file.readframes(FRAME)) == 2 * FRAME:
            yield np.frombuffer(data, "<i2").astype(np.float32) / 32768


def main(model_path: str, wav_path: str) -> None:
    stream = lstm_edge.load(model_path).stream()
    start = None
    for n, samples in enumerate(frames(wav_path)):
        speaking = stream.step(samples[None])[0, 0] > SPEECH
        now = n * FRAME / RATE
        if speaking and start is None:
            start = now
        elif not speaking and start is not None:
            print(f"speech {start:6.2f} s to {now:6.2f} s")
            start = None
    if start is not None:
        print(f"speech {start:6.2f} s to the end")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
