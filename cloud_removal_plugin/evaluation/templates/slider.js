(function () {
  "use strict";
  var slider = document.getElementById("slider");
  if (!slider) { return; }
  var slide = document.getElementById("slide");
  var views = Array.prototype.slice.call(slider.querySelectorAll(".view"));
  function move() {
    slider.style.setProperty("--x", slide.value / 10 + "%");
    slide.setAttribute("aria-valuetext", Math.round(slide.value / 10) + " %");
  }
  function step(event) {
    var steps = { ArrowLeft: -20, ArrowDown: -20, ArrowRight: 20, ArrowUp: 20 };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) { return; }
    event.preventDefault();
    slide.value = Number(slide.value) + steps[event.key];
    move();
  }
  function choose(side) {
    var choice = document.getElementById(side + "-choice");
    document.getElementById(side + "-tag").textContent = choice.value;
    views.forEach(function (view) { view.classList.toggle(side, view.dataset.title === choice.value); });
  }
  slider.classList.add("live");
  slide.addEventListener("input", move);
  slide.addEventListener("keydown", step);
  ["left", "right"].forEach(function (side) {
    document.getElementById(side + "-choice").addEventListener("change", function () { choose(side); });
  });
  move();
}());
