"use strict";
(function () {
  function valueOf(cell) {
    var raw = cell.getAttribute("data-value");
    if (raw === null) { return cell.textContent.trim().toLowerCase(); }
    return raw === "" ? -Infinity : Number(raw);
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a - b; }
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  function sort(table, column, header) {
    var body = table.tBodies[0];
    var descending = header.getAttribute("aria-sort") === "descending" ? false : header.getAttribute("aria-sort") === "ascending" || header.classList.contains("n") && !header.hasAttribute("aria-sort");
    table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    Array.from(body.rows)
      .map(function (row, index) { return { row: row, value: valueOf(row.cells[column]), index: index }; })
      .sort(function (a, b) { return (descending ? -1 : 1) * compare(a.value, b.value) || a.index - b.index; })
      .forEach(function (item) { body.appendChild(item.row); });
  }
  function makeSortable(table) {
    table.querySelectorAll("thead th").forEach(function (header, column) {
      var button = document.createElement("button");
      button.type = "button";
      while (header.firstChild) { button.appendChild(header.firstChild); }
      header.appendChild(button);
      button.addEventListener("click", function () { sort(table, column, header); });
    });
  }
  function makeFilterable(table, number) {
    var rows = Array.from(table.tBodies[0].rows);
    if (rows.length < 6) { return; }
    var label = document.createElement("label");
    label.className = "filter";
    label.textContent = "Filter rows ";
    var input = document.createElement("input");
    input.type = "search";
    var state = document.createElement("span");
    state.setAttribute("role", "status");
    label.appendChild(input);
    label.appendChild(state);
    input.addEventListener("input", function () {
      var wanted = input.value.toLowerCase(), shown = 0;
      rows.forEach(function (row) {
        row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
        if (!row.hidden) { shown += 1; }
      });
      state.textContent = wanted ? shown + " of " + rows.length : "";
    });
    table.closest(".scroll").before(label);
  }
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("table.filterable").forEach(makeFilterable);
})();
