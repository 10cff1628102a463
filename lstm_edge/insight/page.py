"""One self-contained HTML page of heat maps that scrolls over the frames and shows the value under the pointer."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from ..files.pages import filled
from .shown import Map

LEVELS = 32767  # values are kept as 16-bit steps of the largest magnitude; -32768 stands for NaN


def page(title: str, inputs: list[Map], recurrences: dict[str, list[Map]]) -> str:
    """The page's text: no script, style or font from elsewhere. Shown values differ from the trace by 1/65534 of a map's largest."""
    maps = [_packed(m.name, m) for m in inputs]
    maps += [_packed(f"{name}.{m.name}", m) for name, of in recurrences.items() for m in of]
    return filled(_PAGE, {"title": title, "maps": maps})


def _packed(name: str, shown: Map) -> dict[str, Any]:
    values = shown.values.astype(np.float64)
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max(initial=0)) or 1.0
    steps = np.where(finite, np.rint(np.where(finite, values, 0) / largest * LEVELS), -LEVELS - 1).astype("<i2")
    frames, units = values.shape
    text = base64.b64encode(steps.tobytes()).decode()
    return {"name": name, "frames": frames, "units": units, "gate": shown.gate, "most": largest, "data": text}


_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>gates</title>
<style>
body{font:13px system-ui,sans-serif;margin:0;color:#222;background:#fff}
header{position:sticky;top:0;background:#fff;padding:6px 12px;border-bottom:1px solid #ccc;z-index:2}
#value{font-weight:600;font-variant-numeric:tabular-nums;min-height:1.3em}
#scroll{overflow-x:auto;margin:0 12px}
#all{position:relative}
section{position:sticky;left:0;width:max-content;margin:8px 0}
canvas{display:block;image-rendering:pixelated;cursor:crosshair;background:#bbb}
#line{position:absolute;top:0;bottom:0;width:1px;background:#f80;pointer-events:none;z-index:1;display:none}
button{font:inherit;min-width:2em}
</style>
<header><b id="title"></b> <button id="out">&minus;</button> <button id="in">+</button>
<span>scroll over the frames; the value under the pointer:</span><div id="value">&nbsp;</div></header>
<div id="scroll"><div id="all"><div id="line"></div></div></div>
<script>
"use strict";
const D = /*DATA*/null, $ = id => document.getElementById(id), scroll = $("scroll"), all = $("all"), line = $("line");
const most = Math.max(...D.maps.map(m => m.frames));
let px = 1; // of a frame
document.title = $("title").textContent = D.title;
const shade = (m, v) => { // v of -1 to 1 (a gate: 0 to 1) as red, green, blue
  const a = Math.min(1, Math.abs(v)), w = 255 * (1 - a);
  return m.gate ? [w, w, w] : v < 0 ? [w, w + 90 * a, 255 - 75 * a] : [255 - 75 * a, w + 20 * a, w + 30 * a];
};
const at = (m, t, u) => {
  const v = m.steps[t * m.units + u];
  return v === -32768 ? NaN : v / 32767 * m.most;
};
for (const m of D.maps) {
  const bytes = Uint8Array.from(atob(m.data), c => c.charCodeAt(0)), view = new DataView(bytes.buffer);
  m.steps = Int16Array.from({length: bytes.length / 2}, (_, i) => view.getInt16(2 * i, true));
  m.row = Math.max(m.units > 200 ? 1 : 2, Math.min(12, Math.floor(160 / m.units)));
  const section = document.createElement("section");
  section.append(`${m.name}  (${m.units} unit${m.units > 1 ? "s" : ""})`);
  m.canvas = document.createElement("canvas");
  m.canvas.dataset.name = m.name;
  section.append(m.canvas);
  all.append(section);
  m.canvas.addEventListener("pointermove", e => {
    const box = m.canvas.getBoundingClientRect(), x = e.clientX - box.left + scroll.scrollLeft;
    const t = Math.floor(x / px), u = Math.floor((e.clientY - box.top) / m.row);
    if (t < 0 || t >= m.frames || u < 0 || u >= m.units) return;
    const v = at(m, t, u);
    $("value").textContent = `${m.name}  frame ${t}  unit ${u}:  ${isNaN(v) ? "none" : v.toPrecision(4)}`;
    line.style.display = "block";
    line.style.left = (t + .5) * px + "px";
  });
}
function draw() {
  const wide = scroll.clientWidth, first = Math.floor(scroll.scrollLeft / px);
  for (const m of D.maps) {
    const c = m.canvas, n = Math.max(0, Math.min(m.frames - first, Math.ceil(wide / px) + 1));
    c.width = Math.min(wide, most * px);
    c.height = m.units * m.row;
    if (!n) continue;
    const small = document.createElement("canvas"), g = c.getContext("2d");
    small.width = n;
    small.height = m.units;
    const image = new ImageData(n, m.units), unit = m.gate ? 1 : m.most;
    for (let u = 0; u < m.units; u++) for (let t = 0; t < n; t++) {
      const v = at(m, first + t, u);
      if (!isNaN(v)) image.data.set([...shade(m, v / unit), 255], 4 * (u * n + t));
    }
    small.getContext("2d").putImageData(image, 0, 0);
    g.imageSmoothingEnabled = false;
    g.drawImage(small, first * px - scroll.scrollLeft, 0, n * px, c.height);
  }
}
function zoom(to) {
  const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / px;
  px = Math.max(1, Math.min(128, to));
  all.style.width = most * px + "px";
  scroll.scrollLeft = middle * px - scroll.clientWidth / 2;
  draw();
}
scroll.addEventListener("scroll", draw);
addEventListener("resize", draw);
$("in").onclick = () => zoom(px * 2);
$("out").onclick = () => zoom(px / 2);
zoom(Math.max(6, Math.floor(scroll.clientWidth / most)));
</script>
</html>
"""
