#!/usr/bin/env python3
"""Builds the sdist and, from it, the wheels for x86_64, aarch64 and armv7l; checks them.

    tools/wheels.py                  dist/*.tar.gz and dist/*.whl
    tools/wheels.py --arch aarch64   one of them
    tools/wheels.py --check          what is in dist/, and the aarch64 wheel in an emulated Python
"""
