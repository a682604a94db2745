//! Plots as inline SVG: lines over a linear, logarithmic or named scale.
//!
//! Owns: ticks, the frame, lines with markers, the legend. Colours are the page's (`html`), by class.
//! Holds: whatever the data, what comes out is well-formed; every text in it is escaped.

use std::fmt::Write;

/// Units of the drawing; small, so that it can still be read on a phone.
const WIDTH: f64 = 420.0;
const PLOT: [f64; 4] = [52.0, 14.0, 408.0, 208.0];
const LEGEND_TOP: f64 = 262.0;
const LEGEND_LINE: f64 = 18.0;
/// Ticks of a linear scale, about.
const TICKS: f64 = 5.0;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
    /// The values are 0, 1, 2 and so on, of these names.
    Named(&'static [&'static str]),
}

/// One axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which colour and dash, 0 to 3.
    pub(super) style: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// A level to hold, and what it is.
    pub(super) level: Option<(f64, &'static str)>,
}

/// Text for HTML and SVG, also inside attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The values at which a scale from `least` to `most` has its ticks; the first and the last enclose both.
pub(super) fn ticks(scale: Scale, least: f64, most: f64) -> Vec<f64> {
    match scale {
        Scale::Named(names) => (0..names.len()).map(|place| place as f64).collect(),
        Scale::Linear => {
            let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
            let step = nice(most / TICKS);
            (0..=(most / step).ceil() as u32).map(|count| f64::from(count) * step).collect()
        }
        Scale::Logarithmic => {
            let least = if least.is_finite() && least > 0.0 { least } else { 1.0 };
            let most = if most.is_finite() && most > least { most } else { least * 10.0 };
            let few = most / least > 100.0;
            let steps: &[f64] = if few { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let decades = least.log10().floor() as i32..=most.log10().ceil() as i32;
            let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
            let all: Vec<f64> = all.collect();
            let first = all.iter().rposition(|tick| *tick <= least * 1.000_001).unwrap_or(0);
            let last = all.iter().position(|tick| *tick >= most * 0.999_999).unwrap_or(all.len() - 1);
            all[first..=last].to_vec()
        }
    }
}

/// The next of 1, 2, 5, 10 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|step| *step >= value * 0.999_999).unwrap_or(power * 10.0)
}

/// From values to places along one axis.
struct Ruler {
    scale: Scale,
    ticks: Vec<f64>,
    from: f64,
    to: f64,
}

impl Ruler {
    fn new(scale: Scale, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        Self { scale, ticks: ticks(scale, least, most), from, to }
    }

    /// `None` for what has no place on the scale.
    fn place(&self, value: f64) -> Option<f64> {
        let (first, last) = (*self.ticks.first()?, *self.ticks.last()?);
        let share = match self.scale {
            Scale::Logarithmic if value <= 0.0 => return None,
            Scale::Logarithmic => (value / first).log10() / (last / first).log10(),
            Scale::Linear | Scale::Named(_) => (value - first) / (last - first),
        };
        share.is_finite().then(|| self.from + share.clamp(0.0, 1.0) * (self.to - self.from))
    }

    fn name(&self, tick: f64) -> String {
        match self.scale {
            Scale::Named(names) => names.get(tick as usize).copied().unwrap_or_default().to_owned(),
            _ if tick >= 1000.0 => format!("{}k", tick / 1000.0),
            _ => format!("{}", (tick * 1e6).round() / 1e6),
        }
    }
}

impl Plot {
    /// The drawing; one that says so where there is nothing to draw.
    pub(super) fn svg(&self) -> String {
        let mut out = String::new();
        let drawn: Vec<&Series> = self.series.iter().filter(|series| !series.points.is_empty()).collect();
        let lines = drawn.len() + usize::from(self.level.is_some());
        let height = LEGEND_TOP + LEGEND_LINE * lines as f64;
        // Writing into a string cannot fail.
        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-title\"><title id=\"{id}-title\">{}</title>",
            escape(self.title),
            id = self.id,
        );
        if drawn.is_empty() {
            let _ = write!(
                out,
                "<text x=\"{}\" y=\"110\" class=\"empty\">nothing was measured</text></svg>",
                WIDTH / 2.0
            );
            return out;
        }
        let [left, top, right, bottom] = PLOT;
        let points = || drawn.iter().flat_map(|series| series.points.iter().copied());
        let levels = self.level.map(|(level, _)| level);
        let x = Ruler::new(self.x.scale, points().map(|(x, _)| x), left, right);
        let y = Ruler::new(self.y.scale, points().map(|(_, y)| y).chain(levels), bottom, top);
        self.frame(&mut out, &x, &y);
        if let Some((place, _)) = self.level.and_then(|(level, name)| Some((y.place(level)?, name))) {
            let _ = write!(
                out,
                "<line x1=\"{left}\" y1=\"{place:.1}\" x2=\"{right}\" y2=\"{place:.1}\" class=\"level\"/>"
            );
        }
        for series in &drawn {
            line(&mut out, series, &x, &y);
        }
        legend(&mut out, &drawn, self.level.map(|(_, name)| name));
        out.push_str("</svg>");
        out
    }

    fn frame(&self, out: &mut String, x: &Ruler, y: &Ruler) {
        let [left, top, right, bottom] = PLOT;
        for (tick, place) in y.ticks.iter().filter_map(|tick| Some((*tick, y.place(*tick)?))) {
            let _ = write!(
                out,
                "<line x1=\"{left}\" y1=\"{place:.1}\" x2=\"{right}\" y2=\"{place:.1}\" class=\"grid\"/>\
                 <text x=\"{}\" y=\"{:.1}\" class=\"end\">{}</text>",
                left - 6.0,
                place + 4.0,
                escape(&y.name(tick))
            );
        }
        for (tick, place) in x.ticks.iter().filter_map(|tick| Some((*tick, x.place(*tick)?))) {
            let _ = write!(
                out,
                "<line x1=\"{place:.1}\" y1=\"{bottom}\" x2=\"{place:.1}\" y2=\"{}\" class=\"grid\"/>\
                 <text x=\"{place:.1}\" y=\"{}\" class=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 18.0,
                escape(&x.name(tick))
            );
        }
        let (across, down) = ((left + right) / 2.0, (top + bottom) / 2.0);
        let _ = write!(
            out,
            "<text x=\"{across}\" y=\"{}\" class=\"middle\">{}</text>\
             <text x=\"12\" y=\"{down}\" class=\"middle\" transform=\"rotate(-90 12 {down})\">{}</text>",
            bottom + 36.0,
            escape(self.x.label),
            escape(self.y.label)
        );
    }
}

fn line(out: &mut String, series: &Series, x: &Ruler, y: &Ruler) {
    let places = series.points.iter().filter_map(|&(across, up)| Some((x.place(across)?, y.place(up)?)));
    let places: Vec<(f64, f64)> = places.collect();
    let text: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(out, "<polyline points=\"{}\" class=\"line s{}\"/>", text.join(" "), series.style);
    for (x, y) in places {
        let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" class=\"dot s{}\"/>", series.style);
    }
}

fn legend(out: &mut String, drawn: &[&Series], level: Option<&str>) {
    let entries = drawn.iter().map(|series| (format!("line s{}", series.style), series.name.as_str()));
    let entries = entries.chain(level.map(|name| ("level".to_owned(), name)));
    for (place, (class, name)) in entries.enumerate() {
        let y = LEGEND_TOP + LEGEND_LINE * place as f64;
        let _ = write!(
            out,
            "<line x1=\"{}\" y1=\"{:.1}\" x2=\"{}\" y2=\"{:.1}\" class=\"{class}\"/><text x=\"{}\" y=\"{y:.1}\">{}</text>",
            PLOT[0],
            y - 4.0,
            PLOT[0] + 34.0,
            y - 4.0,
            PLOT[0] + 42.0,
            escape(name)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scale: Scale, least: f64, most: f64, expected: &[f64]) {
        let got = ticks(scale, least, most);
        let same = got.len() == expected.len()
            && got.iter().zip(expected).all(|(got, wanted)| (got - wanted).abs() <= wanted.abs() * 1e-9);
        assert!(same, "{got:?} is not {expected:?}");
    }

    #[test]
    fn linear_ticks_begin_at_zero_and_enclose_all() {
        check(Scale::Linear, 1.0, 1.3, &[0.0, 0.5, 1.0, 1.5]);
        check(Scale::Linear, 0.0, 10.0, &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        check(Scale::Linear, 0.0, 0.0, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check(Scale::Linear, f64::INFINITY, f64::NEG_INFINITY, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    }

    #[test]
    fn logarithmic_ticks_enclose_all() {
        check(Scale::Logarithmic, 10.0, 2000.0, &[10.0, 100.0, 1000.0, 10_000.0]);
        check(Scale::Logarithmic, 3.0, 30.0, &[2.0, 5.0, 10.0, 20.0, 50.0]);
        check(Scale::Logarithmic, 1.0, 1.0, &[1.0, 2.0, 5.0, 10.0]);
        check(Scale::Logarithmic, 0.0, 5.0, &[1.0, 2.0, 5.0]);
        check(Scale::Logarithmic, 0.02, 0.4, &[0.02, 0.05, 0.1, 0.2, 0.5]);
    }

    #[test]
    fn named_ticks_are_their_names() {
        check(Scale::Named(&["a", "b", "c"]), 0.0, 0.0, &[0.0, 1.0, 2.0]);
    }

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        let axis = |scale| Axis { label: "a < b", scale };
        Plot {
            id: "test",
            title: "T & t",
            x: axis(Scale::Logarithmic),
            y: axis(Scale::Linear),
            series: vec![Series { name: "<raw>".to_owned(), style: 0, points }],
            level: Some((1.25, "goal")),
        }
    }

    #[test]
    fn a_drawing_escapes_its_texts_and_has_a_marker_for_each_point() {
        let svg = plot(vec![(10.0, 1.0), (100.0, 2.0), (0.0, 1.0), (5.0, f64::NAN)]).svg();
        assert_eq!(svg.matches("<circle").count(), 2, "what has no place is left out: {svg}");
        assert!(svg.contains("&lt;raw&gt;") && svg.contains("T &amp; t") && svg.contains("a &lt; b"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (1, 1));
    }

    #[test]
    fn nothing_to_draw_is_said() {
        let svg = plot(Vec::new()).svg();
        assert!(svg.contains("nothing was measured") && svg.ends_with("</svg>"), "{svg}");
    }

    #[test]
    fn markup_in_texts_is_harmless() {
        assert_eq!(escape("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
    }
}
