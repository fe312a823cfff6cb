// Sorts a table by the column whose heading is clicked. Without JavaScript tables stay in their order, and no heading is a button.
document.querySelectorAll("[data-script]").forEach(function (hint) { hint.hidden = false; });
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach(function (head) {
    var column = head.cellIndex, button = document.createElement("button");
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    var value = function (row) {
      var cell = row.cells[column];
      return cell.hasAttribute("data-value") ? cell.getAttribute("data-value") : cell.textContent;
    };
    button.addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      Array.from(body.rows).sort(function (a, b) {
        var x = value(a), y = value(b), p = parseFloat(x), q = parseFloat(y), order;
        if (head.classList.contains("text")) { order = x.localeCompare(y); }
        else if (isNaN(p) || isNaN(q)) { return isNaN(p) - isNaN(q); } // missing values last
        else { order = p - q; }
        return up ? order : -order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});

// Photo and depth over each other: the slider moves their border; a range input knows keyboard, mouse and touch by itself.
document.querySelectorAll(".compare").forEach(function (frame) {
  var slider = frame.querySelector("input");
  var move = function () { frame.style.setProperty("--at", slider.value + "%"); };
  slider.addEventListener("input", move);
  move(); // browsers restore where it was
});
