"""Style and script of the evaluation page: nothing is fetched, and the script only sorts tables."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --soft: #5b6570; --line: #dfe3e8; --band: #f5f7f9;
  --mark: #b4500b; --warn: #fff4e5; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e9ec; --soft: #9aa4ae; --line: #2c333a;
  --band: #1b2025; --mark: #ffa657; --warn: #33271a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; } p { margin: .25rem 0 .75rem; max-width: 60rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .87rem; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; } thead th { border-bottom: 2px solid var(--line); }
table.sortable { font-size: .92em; } .sortable th, .sortable td { padding: .35rem .5rem; }
th.text, td.text { text-align: left; } td.best { font-weight: 700; color: var(--mark); }
tbody tr:hover { background: var(--band); }
thead th.group { text-align: center; border-bottom: 1px solid var(--line); }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--mark); }
th[aria-sort="ascending"] button::after { content: " \\25B2"; font-size: .7em; }
th[aria-sort="descending"] button::after { content: " \\25BC"; font-size: .7em; }
details { border: 1px solid var(--line); border-radius: 8px; margin: .75rem 0; padding: .5rem .9rem; }
summary { cursor: pointer; font-weight: 600; } details[open] > summary { margin-bottom: .5rem; }
.strip { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .5rem; margin: 0 0 .25rem; }
.strip img { width: 100%; height: auto; display: block; border-radius: 4px; background: var(--band); }
.strip span { font-size: .8rem; color: var(--soft); }
figure { margin: .75rem 0 1.25rem; } figcaption b { color: var(--ink); } figcaption { overflow-wrap: anywhere; }
@media (max-width: 48rem) { .strip { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.bars { display: flex; flex-wrap: wrap; gap: 1.5rem; margin: .25rem 0 .5rem; font-size: .85rem; color: var(--soft); }
.bars i { display: inline-block; width: 9rem; height: .7rem; border-radius: 3px; margin: 0 .4rem; vertical-align: middle; }
.warn { background: var(--warn); border-radius: 8px; padding: .6rem .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; } li { max-width: 60rem; overflow-wrap: anywhere; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th button").forEach(function (button) {
    button.addEventListener("click", function () {
      var head = button.parentNode, column = head.cellIndex, body = table.tBodies[0];
      var up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var value = function (row) { return row.cells[column].getAttribute("data-value"); };
      Array.from(body.rows).sort(function (a, b) {
        var x = value(a), y = value(b), p = parseFloat(x), q = parseFloat(y), order;
        if (head.className === "text") { order = x.localeCompare(y); }
        else if (isNaN(p) || isNaN(q)) { return isNaN(p) - isNaN(q); }
        else { order = p - q; }
        return up ? order : -order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""
