// What every page does beyond plain HTML: times in the visitor's zone, copy buttons, the countdown before a start.
// Each part looks for its own elements and leaves the page as it is where there are none.

const language = document.documentElement.lang;

/** Shows every `<time data-at>` in the visitor's zone, and says so in the foot, where that zone is another one. */
function ownZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const forms = {
    time: new Intl.DateTimeFormat(language, clock),
    moment: new Intl.DateTimeFormat(language, { weekday: "short", day: "numeric", month: "long", ...clock }),
  };
  let changed = false;
  for (const element of document.querySelectorAll("main time[data-at]")) {
    const form = forms[element.dataset.at];
    const at = new Date(element.dateTime);
    if (!form || Number.isNaN(at.getTime()) || element.closest("[data-provider-zone]")) continue;
    const text = form.format(at);
    const before = element.textContent;
    const hours = (written) => written.match(/\d{1,2}:\d\d/)?.[0];
    if (hours(text) === hours(before)) continue;
    element.title = before;
    element.textContent = text;
    changed = true;
  }
  const note = document.querySelector("[data-own-zone]");
  if (note && changed) {
    note.textContent = ` · ${note.dataset.ownZone}: ${zone}`;
    note.hidden = false;
    document.documentElement.dataset.zone = "own";
  }
}

/** Buttons that copy the field which they name. Without script they stay hidden: the field can be selected by hand. */
function copyButtons() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const field = document.getElementById(button.dataset.copy);
    if (!field || !navigator.clipboard) continue;
    button.hidden = false;
    const label = button.querySelector("span");
    const usual = label.textContent;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(field.value);
      label.textContent = button.dataset.done;
      setTimeout(() => { label.textContent = usual; }, 2000);
    });
  }
}

/** Counts down to a start, and loads the page anew once it is there. */
function countdown() {
  const element = document.querySelector("[data-countdown]");
  const target = element?.querySelector("b");
  if (!target) return;
  const start = new Date(element.dataset.countdown).getTime();
  const two = (number) => String(number).padStart(2, "0");
  const tick = () => {
    const seconds = Math.ceil((start - Date.now()) / 1000);
    if (seconds <= 0) {
      clearInterval(timer);
      setTimeout(() => location.reload(), 2000);
      return;
    }
    const days = Math.floor(seconds / 86400);
    const rest = `${two(Math.floor(seconds / 3600) % 24)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
    target.textContent = days ? `${days} ${element.dataset.days} ${rest}` : rest;
  };
  const timer = setInterval(tick, 1000);
  tick();
}

/** What is wrong with a form gets the focus, so that it is read first. */
function focusProblems() {
  document.getElementById("problems")?.focus();
}

ownZone();
copyButtons();
countdown();
focusProblems();
