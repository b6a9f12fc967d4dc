#!/usr/bin/python3
"""Writes generated/model.pt beside this file: a PyTorch model as TorchScript, for torchscript.yaml."""

import pathlib

import torch

torch.manual_seed(1)
model = torch.nn.Sequential(
    torch.nn.Flatten(), torch.nn.Linear(784, 100), torch.nn.Tanh(), torch.nn.Linear(100, 10)
)
path = pathlib.Path(__file__).resolve().parent / "generated" / "model.pt"
path.parent.mkdir(parents=True, exist_ok=True)
torch.jit.script(model).save(str(path))
print(f"{path}: {sum(p.numel() for p in model.parameters())} parameters")
