"""How the report's page looks: light and dark, narrow and wide; no fonts, scripts or pictures from anywhere."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #fff; --ink: #1d2327; --soft: #667079; --line: #e3e1dc; --track: #efede8;
  --loaded: #2a7f62; --unchanged: #86a9c4; --failed: #c8452f; --duplicate: #d3a03a; --unfinished: #b9b6ae; --accent: #3d6f91; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181b; --card: #1c2226; --ink: #e6e8e6; --soft: #98a3aa; --line: #2d353a; --track: #262d32;
  --loaded: #4cb08c; --unchanged: #5b83a3; --failed: #e8705a; --duplicate: #d9b35c; --unfinished: #566067; --accent: #7fb0d1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: clamp(16px, 4vw, 48px); }
header p { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.3rem); line-height: 1.2; margin: .35em 0 .5em; letter-spacing: -.015em; text-wrap: balance; }
.done h1 { color: var(--loaded); } .failed h1, .stopped h1, .broken h1 { color: var(--failed); }
h2 { font-size: 1rem; margin: 0 0 .75rem; } h3 { font-size: .9rem; margin: 1.25rem 0 .5rem; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px; margin: 16px 0; min-width: 0; }
.pair { display: grid; gap: 0 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); align-items: start; }
.problem { border-left: 4px solid var(--failed); white-space: pre-wrap; overflow-wrap: anywhere; }
small, .remark, dt { color: var(--soft); font-size: .82rem; } .remark { margin: 0 0 .75rem; } .remark:last-child { margin: .75rem 0 0; }
code, pre { font: .86em/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { margin: 0; overflow-x: auto; background: var(--track); border-radius: 6px; padding: 12px; } ul { list-style: none; margin: 0; padding: 0; }
.stack { display: flex; gap: 2px; height: 26px; border-radius: 6px; overflow: hidden; background: var(--track); margin-top: 8px; }
.stack i { flex: 0 0 4px; }
i.loaded, .dot.loaded { background: var(--loaded); } i.unchanged, .dot.unchanged { background: var(--unchanged); }
i.failed, .dot.failed { background: var(--failed); } i.duplicate, .dot.duplicate { background: var(--duplicate); }
i.unfinished, .dot.unfinished { background: repeating-linear-gradient(135deg, var(--unfinished) 0 5px, transparent 5px 9px); }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 3px; margin-right: .4em; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 12px 0 0; } .legend .none { opacity: .55; }
.sum { margin: 10px 0 0; font-variant-numeric: tabular-nums; color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(125px, 1fr)); gap: 14px; margin: 20px 0 0; }
.tiles strong { font-size: 1.45rem; font-variant-numeric: tabular-nums; letter-spacing: -.01em; } .tiles small { display: block; }
.next li { padding: 3px 0; } .next code { display: block; background: var(--track); border-radius: 6px; padding: 8px 12px; margin: 6px 0 2px; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 500; vertical-align: middle; padding: 5px 12px 5px 0; width: 38%; }
th small { display: block; font-weight: 400; line-height: 1.3; } td.n { text-align: right; white-space: nowrap; padding-left: 12px; width: 1%; }
td.n, .n { font-variant-numeric: tabular-nums; } .bar { vertical-align: middle; }
.bar i { display: block; height: 12px; min-width: 2px; background: var(--accent); border-radius: 3px; }
.shards th { overflow-wrap: anywhere; font-weight: 400; width: 46%; font-size: .9rem; }
.chart { display: grid; grid-template-columns: auto 1fr; gap: 4px 8px; font-size: .78rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.y { display: flex; flex-direction: column; justify-content: space-between; text-align: right; line-height: 1; }
.x { grid-column: 2; display: flex; justify-content: space-between; } .plot { height: 150px; border-bottom: 1px solid var(--line);
  background: linear-gradient(var(--line), var(--line)) 0 0 / 100% 1px no-repeat, linear-gradient(var(--line), var(--line)) 0 50% / 100% 1px no-repeat; }
.plot svg { display: block; width: 100%; height: 100%; fill: var(--loaded); }
.histogram { display: flex; align-items: stretch; gap: 2px; } .histogram li { flex: 1 1 0; min-width: 0; text-align: center; }
.histogram span { display: flex; align-items: end; height: 96px; border-bottom: 1px solid var(--line); }
.histogram i { display: block; width: 100%; min-height: 1px; background: var(--accent); border-radius: 3px 3px 0 0; }
.histogram small { font-size: .68rem; white-space: nowrap; }
dl { margin: 0; display: grid; gap: 6px 20px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr)); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
details { border-top: 1px solid var(--line); padding: 8px 0; } details:first-of-type { border-top: 0; padding-top: 0; } summary { cursor: pointer; }
details li { padding: 6px 0 6px 18px; } details li small { display: block; overflow-wrap: anywhere; } .message { overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .82rem; margin-top: 24px; overflow-wrap: anywhere; }
"""
