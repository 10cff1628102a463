"""A live torch module becomes a file; the file's answers are torch's. Needs the torch extra."""

import os
import tempfile

import numpy as np
import torch

import lstm_edge


class Tagger(torch.nn.Module):
    """Two recurrent layers and a linear one, an answer for every frame."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(12, 32, num_layers=2, batch_first=True)
        self.linear = torch.nn.Linear(32, 5)

    def forward(self, x):
        return self.linear(self.lstm(x)[0])


torch.manual_seed(0)
module = Tagger().eval()
example = torch.zeros(1, 10, 12)  # shapes only: batch and frames stay free
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "tagger.lstm")
    model = lstm_edge.convert(module, path, example=example)
    print(f"{os.path.getsize(path):,} bytes")

x = np.random.default_rng(0).standard_normal((3, 50, 12)).astype(np.float32)
with torch.no_grad():
    expected = module(torch.from_numpy(x)).numpy()
print(f"largest difference from torch: {np.abs(model.run(x) - expected).max():.1e}")
