// The style sheet of report.html. Colours are those of Okabe and Ito, which people with any kind of
// colour vision can tell apart; dark uses lighter shades of the same hues.
#pragma once

namespace laconic::cli {

inline constexpr const char* kReportStyle = R"css(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#5b6470;--line:#e3e6ea;
--good:#0f7b4f;--bad:#b3261e;--s0:#0b62b8;--s1:#d55e00;--s2:#8a929c;
--p0:#0b62b8;--p1:#e69f00;--p2:#cc5a9c;--p3:#3aa6d8;--p4:#8a929c}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1d2126;--ink:#e8eaed;--soft:#a3acb8;
--line:#343a42;--good:#5bd19b;--bad:#ff8a80;--s0:#6db3f8;--s1:#ff9d57;--s2:#8d97a3;
--p0:#5a9fe6;--p1:#f0b640;--p2:#e08abf;--p3:#7ccdf0;--p4:#8d97a3}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
main{max-width:1200px;margin:0 auto;padding:28px 20px 40px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:15px;font-weight:600;margin:0 0 10px}
header p{margin:0;color:var(--soft)}
header .message{color:var(--bad);margin-top:8px;white-space:pre-wrap;overflow-wrap:anywhere}
.state{font-size:13px;font-weight:600;border:1px solid;border-radius:99px;padding:2px 10px;
vertical-align:4px;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:14px;margin:22px 0 14px}
.tile,figure,.columns section,.wide{background:var(--card);border:1px solid var(--line);border-radius:10px}
.tile{padding:14px 16px}
.tile b{display:block;font-size:24px;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.grid,.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px;
margin-bottom:14px;align-items:stretch}
figure{margin:0;padding:16px 18px}
.columns{align-items:start}
.columns section,.wide{padding:16px 18px;min-width:0}
figcaption{color:var(--soft);font-size:13px;margin-top:6px}
svg{display:block;width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
svg text{fill:var(--soft)}
.grid line.grid,line.grid{stroke:var(--line);stroke-width:1}
polyline,line.s0,line.s1,line.s2{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.s0{stroke:var(--s0)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}
.d0{fill:var(--s0)}.d1{fill:var(--s1)}.d2{fill:var(--s2)}
.dashed{stroke-dasharray:6 4;stroke-linecap:butt}
.p0{fill:var(--p0)}.p1{fill:var(--p1)}.p2{fill:var(--p2)}.p3{fill:var(--p3)}.p4{fill:var(--p4)}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th{font-weight:400;color:var(--soft);text-align:left}
td,th{padding:5px 12px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td,tr:last-child th{border-bottom:0}
.facts td{overflow-wrap:anywhere}
.ranks td,.ranks th{white-space:nowrap}
.scroll{overflow-x:auto}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,"Liberation Mono",monospace}
pre{margin:0;overflow-x:auto}
footer{color:var(--soft);font-size:13px;margin-top:18px}
@media print{body{background:#fff}.tile,figure,section{break-inside:avoid}}
)css";

}  // namespace laconic::cli
