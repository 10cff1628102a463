"""A report as one self-contained page: tables, histograms, the calls over time, the ops. It loads nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..files.pages import filled

POINTS = 1500  # of a time line: each is the longest call of its stretch, so that no late one is left out

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>lstm-edge bench</title>
<style>body{font:14px system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}canvas{width:100%;height:150px;display:block;margin:.3em 0 1em}
.w{color:#a40}h2{font-size:1.1em;margin-top:2em}small{color:#666}</style>
<h1></h1><p id="about"></p><div id="warn"></div><div id="main"></div>
<script>const R=/*DATA*/null;
const E=(p,t,x)=>{const e=document.createElement(t);if(x!==undefined)e.textContent=x;p.append(e);return e};
const us=v=>v==null?"":v<100?v.toFixed(2):v<1000?v.toFixed(1):v.toFixed(0),M=document.getElementById("main");
function table(p,head,rows){const t=E(p,"table"),h=E(t,"tr");head.forEach(x=>E(h,"th",x));
rows.forEach(r=>{const l=E(t,"tr");r.forEach(x=>E(l,"td",x))})}
function draw(p,title,f){E(p,"small",title);const c=E(p,"canvas"),w=c.width=1200,h=c.height=180000/c.clientWidth|0,g=c.getContext("2d");
g.font="20px sans-serif";f(g,w,h-30);return c}
document.querySelector("h1").textContent=R.model+": microseconds per call";
document.getElementById("about").textContent=[R.cpu,R.system,"lstm_edge "+R.version,"an empty call: "+us(R.empty_call)].join(" · ");
R.warnings.forEach(x=>{E(document.getElementById("warn"),"p",x).className="w"});
const N=["min","mean","sd","median","low","high","p90","p95","p99","p999","max"];
table(M,["call","runs",...N],R.results.map(r=>[r.name,r.runs,...N.map(n=>us(r[n]))]));
R.results.forEach(r=>{const s=E(M,"section");E(s,"h2",r.name);
const o=Object.entries(r.outliers).map(([k,v])=>v+(k=="unknown"?" ":" by ")+k).join(", ");if(o)E(s,"p","set apart: "+o);
const H=r.histogram,m=Math.max(...H.counts),e=H.edges;
draw(s,"calls by time, "+us(e[0])+" to "+us(e[e.length-1])+" us; "+H.beyond+" beyond",(g,w,h)=>{g.fillStyle="#47a";
const b=w/H.counts.length;H.counts.forEach((c,i)=>g.fillRect(i*b+1,h-c/m*h,b-2,c/m*h));g.fillStyle="#222";
[0,.5,1].forEach(f=>{g.textAlign=f?f<1?"center":"right":"left";g.fillText(us(e[0]+f*(e[e.length-1]-e[0])),f*w,h+24)})});
const T=r.timeline;draw(s,"calls over time, the longest of each stretch; "+T.seconds.toFixed(2)+" s, up to "+us(Math.max(...T.us))+" us",(g,w,h)=>{
const L=Math.log(Math.max(...T.us)/r.min)||1;g.fillStyle="#c63";T.us.forEach((v,i)=>{const y=Math.log(v/r.min)/L*h;g.fillRect(i/T.us.length*w,h-y,Math.max(w/T.us.length,1.5),y)});
g.fillStyle="#222";g.fillText(us(r.min)+" us at the bottom, logarithmic",0,h+24)})});
if(R.versus){E(M,"h2","Beside other engines, in turn (below 1: lstm_edge is faster)");const x=v=>v==null?"":v.toFixed(3),d=v=>v==null?"":""+ +v.toPrecision(2);
table(M,["engine","call","min","median","ours/theirs","95 %","of minima","differs by","allowed"],R.versus.filter(r=>!r.why).map(r=>[r.name,r.mode,us(r.min),us(r.median),x(r.ratio),
r.ratio==null?"":x(r.ratio_low)+"\u00a0to\u00a0"+x(r.ratio_high),x(r.ratio_min),d(r.error)+(r.agrees===false?": DIFFERS":""),d(r.allowed)]));
R.versus.filter(r=>r.why).forEach(r=>E(M,"p",r.mode+", "+r.engine+": cannot: "+r.why))}
if(R.ops){E(M,"h2","Ops of a "+R.ops_mode);const t=Math.max(...R.ops.map(o=>o.share));
table(M,["op","us","share","kB","GB/s","of bandwidth"],R.ops.map(o=>[o.name+" ("+o.op+")",us(o.median),(100*o.share).toFixed(1)+" %",
(o.bytes/1e3).toFixed(1),o.bytes?(o.bytes_per_second/1e9).toFixed(1):"",o.bytes?(100*o.of_bandwidth).toFixed(0)+" %":""]))}
const say=v=>v==null?"none":typeof v=="number"?""+ +v.toPrecision(4):typeof v=="object"?Object.entries(v).map(([k,x])=>k+" "+say(x)).join(", "):v;
[["startup","From nothing to an answer, ms"],["paced","At the pace of a device"]].forEach(([k,t])=>{if(R[k]){E(M,"h2",t);
table(M,["",""],Object.entries(R[k]).map(([a,b])=>[a,say(b)]))}});
</script></html>"""


def page(report: dict[str, Any]) -> str:
    """The page of a report whose results carry `name`, `histogram` and `timeline`."""
    return filled(PAGE, report)


def timeline(times: np.ndarray, begun: np.ndarray) -> dict[str, Any]:
    """times, begun: nanoseconds (runs,), one thread's in order. Seconds, and the longest call (us) of each stretch of calls."""
    parts = np.array_split(times, min(POINTS, len(times)))
    seconds = float(begun.max() - begun.min()) / 1e9 if len(begun) else 0.0
    return {"seconds": seconds, "us": [float(part.max()) / 1e3 for part in parts]}
