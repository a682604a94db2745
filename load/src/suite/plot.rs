//! Plots as inline SVG: lines over viewers or percentiles.
//!
//! Owns: which scale a plot has and how its lines look. The drawing itself is the crate `plotters`'.
//! Invariant: a plot has data; every text in it is escaped.

use std::error::Error;

use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
    series::DashedLineSeries,
};

/// Units of the drawing; small, so that it can still be read on a phone.
const SIZE: (u32, u32) = (660, 330);
/// Beside the lines, for their names.
const LEGEND: u32 = 160;
const MARGIN: u32 = 12;
const TEXT: (&str, u32) = ("sans-serif", 13);
/// Two of UDP, two of TCP.
const COLOURS: [RGBColor; 4] =
    [RGBColor(138, 90, 0), RGBColor(217, 122, 0), RGBColor(29, 79, 145), RGBColor(47, 143, 216)];
const LEVEL: RGBColor = RGBColor(179, 38, 30);
/// Of the scale, beyond the data.
const ROOM: f64 = 1.15;

/// What the values across are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Across {
    /// Counts, on a logarithmic scale; the other axis is linear from zero.
    Counts(&'static str),
    /// 0, 1, 2 and so on, of these names; the other axis is logarithmic.
    Names(&'static str, &'static [&'static str]),
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which colour, 0 to 3; an even one is dashed.
    pub(super) style: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// A sentence about it.
    pub(super) about: &'static str,
    pub(super) across: Across,
    pub(super) up: &'static str,
    pub(super) series: Vec<Series>,
    /// A level to hold, and what it is.
    pub(super) level: Option<(f64, String)>,
}

impl Plot {
    /// The drawing, for a page in HTML.
    ///
    /// # Errors
    /// It cannot be drawn, such as without data.
    pub(super) fn svg(&self) -> Result<String, Box<dyn Error>> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&area)?;
            area.present()?;
        }
        // Inside HTML it needs no name space, and nothing outside is named.
        Ok(svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", " role=\"img\"", 1))
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), Box<dyn Error>> {
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let up = || points().map(|(_, y)| y).chain(self.level.as_ref().map(|(level, _)| *level));
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, 0f64), |(least, most), value| (least.min(value), most.max(value)))
        };
        let ((left, right), (least, most)) = (bounds(&mut points().map(|(x, _)| x)), bounds(&mut up()));
        if !(right > 0.0 && most > 0.0) {
            return Err("there is nothing to draw".into());
        }
        match self.across {
            Across::Counts(label) => {
                let mut counts: Vec<f64> = points().map(|(x, _)| x).collect();
                counts.sort_by(f64::total_cmp);
                counts.dedup();
                let across = (left / ROOM..right * ROOM).log_scale().with_key_points(counts);
                self.lines(area, across, 0.0..most * ROOM, label, &|x| format!("{x}"))
            }
            Across::Names(label, names) => {
                let name = |x: &f64| names.get(x.round() as usize).copied().unwrap_or_default().to_owned();
                let across = -0.2..names.len() as f64 - 0.8;
                let up = (least / ROOM..most * ROOM).log_scale().with_key_points(steps(least, most));
                self.lines(area, across, up, label, &name)
            }
        }
    }

    fn lines<X, Y>(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        across: X,
        up: Y,
        label: &str,
        name: &dyn Fn(&f64) -> String,
    ) -> Result<(), Box<dyn Error>>
    where
        X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
        Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    {
        let (area, legend) = area.split_horizontally(SIZE.0 - LEGEND);
        let mut builder = ChartBuilder::on(&area);
        builder.margin(MARGIN).x_label_area_size(42).y_label_area_size(56);
        let mut chart = builder.build_cartesian_2d(across, up)?;
        let mut mesh = chart.configure_mesh();
        mesh.label_style(TEXT).axis_desc_style(TEXT).x_desc(label).y_desc(self.up).x_labels(6).y_labels(6);
        mesh.x_label_formatter(&name).y_label_formatter(&|y| format!("{y}"));
        mesh.light_line_style(TRANSPARENT).draw()?;
        let mut names = Vec::new();
        for series in &self.series {
            let colour = COLOURS[series.style % COLOURS.len()];
            let style = colour.stroke_width(2);
            let points = || series.points.iter().copied();
            match series.style % 2 {
                0 => drop(chart.draw_series(DashedLineSeries::new(points(), 6, 4, style))?),
                _ => drop(chart.draw_series(LineSeries::new(points(), style))?),
            }
            chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
            names.push((&series.name, style));
        }
        if let Some((level, name)) = &self.level {
            let (ends, style) = (chart.x_range(), LEVEL.stroke_width(1));
            let ends = [(ends.start, *level), (ends.end, *level)];
            chart.draw_series(DashedLineSeries::new(ends, 2, 4, style))?;
            names.push((name, style));
        }
        for ((name, style), place) in names.into_iter().zip(1..) {
            let y = 18 * place;
            legend.draw(&PathElement::new([(0, y), (22, y)], style))?;
            legend.draw(&Text::new(name.as_str(), (30, y - 6), TEXT))?;
        }
        Ok(())
    }
}

/// 1, 2 and 5 times the powers of ten from `least` to `most`; of many only the powers.
fn steps(least: f64, most: f64) -> Vec<f64> {
    let factors: &[f64] = if most / least > 1000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let all = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    all.filter(|step| (least / ROOM..=most * ROOM).contains(step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(across: Across, points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: "T & t",
            about: "",
            across,
            up: "a < b",
            series: vec![Series { name: "<raw>".to_owned(), style: 0, points }],
            level: Some((1.25, "goal".to_owned())),
        }
    }

    #[test]
    fn a_drawing_escapes_its_texts_and_has_a_marker_for_each_point() {
        for across in [Across::Counts("viewers"), Across::Names("share", &["p50", "p99", "max"])] {
            let svg = plot(across, vec![(1.0, 1.0), (2.0, 2.0)]).svg().unwrap();
            assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
            let label = if across == Across::Counts("viewers") { "\n2\n" } else { "p99" };
            assert!(svg.contains(label), "{svg}");
            assert!(svg.contains("&lt;raw&gt;") && svg.contains("a &lt; b") && svg.contains("goal"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("http"), "{svg}");
            assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (1, 1));
        }
    }

    #[test]
    fn steps_are_round_and_within_the_scale() {
        assert_eq!(steps(0.3, 12.0), [0.5, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!(steps(3.0, 3000.0), [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(steps(0.01, 900.0), [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn without_data_nothing_is_drawn() {
        assert!(plot(Across::Counts("viewers"), Vec::new()).svg().is_err());
    }
}
