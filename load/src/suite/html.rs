//! The report as one page that needs nothing else: tables with captions, and the plots for which there is data.
//!
//! Invariant: no script, no address of anything outside; every text is escaped.

use std::{fmt::Write, io};

use super::{
    figures::SCALE_MAX,
    plot::{Across, Plot, Series},
    report::{Point, QUANTILES, Report, Row, number},
};
use crate::{limit::Spread, paced::Transport};

const STYLE: &str = include_str!("page.css");

/// Text for HTML, also inside attributes.
fn escape(text: &str) -> String {
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

/// The whole page.
///
/// # Errors
/// A plot cannot be drawn.
pub(super) fn page(report: &Report) -> io::Result<String> {
    let mut out = String::with_capacity(32 * 1024);
    // Writing into a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>slotcast load suite, {date}</title><style>{STYLE}</style></head><body><main>\
         <h1>slotcast load suite</h1><p class=\"summary\">{summary}</p>",
        date = escape(&report.date),
        summary = escape(&summary(report)),
    );
    if report.quick {
        out.push_str("<p class=\"warning\">A quick run: few viewers for a moment. It shows that the suite works, not how fast the server is.</p>");
    }
    if report.is_busy() {
        out.push_str("<p class=\"warning\">Other things ran on the machine when this began: its figures are not to be trusted.</p>");
    }
    if report.interrupted {
        out.push_str("<p class=\"warning\">Ended before its end: what is missing was not measured.</p>");
    }
    machine(&mut out, report);
    figures(&mut out, &report.rows);
    for plot in plots(&report.points) {
        let svg = plot.svg().map_err(|error| io::Error::other(format!("{}: {error}", plot.title)))?;
        let (title, about) = (escape(plot.title), escape(plot.about));
        let _ =
            write!(out, "<figure>{svg}<figcaption><strong>{title}.</strong> {about}</figcaption></figure>");
    }
    if !report.points.is_empty() {
        points(&mut out, &report.points);
    }
    out.push_str("</main></body></html>\n");
    Ok(out)
}

fn summary(report: &Report) -> String {
    let minutes = (report.took_seconds / 60.0).max(0.1);
    let rounds = if report.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", report.rounds) };
    format!(
        "{} figures: {}. {rounds} of {} s, {minutes:.1} minutes in all.",
        report.rows.len(),
        report.summary(),
        report.seconds
    )
}

fn machine(out: &mut String, report: &Report) {
    out.push_str("<div class=\"wide\"><table><caption>Where and what</caption><tbody>");
    for (name, value) in [
        ("Begun", report.date.clone()),
        ("Server", report.server.clone()),
        ("Tools", format!("slotcast {}", report.version)),
        ("Processor", format!("{}, {} cores", report.processor, report.cores)),
        ("Kernel", report.kernel.clone()),
        ("Load average before", report.load_before.to_string()),
    ] {
        let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value));
    }
    out.push_str("</tbody></table></div>");
}

fn figures(out: &mut String, rows: &[Row]) {
    out.push_str(
        "<div class=\"wide\"><table><caption>Figures: medians, in brackets the least and the most of all rounds</caption>\
         <thead><tr><th scope=\"col\">Figure</th><th scope=\"col\">Goal</th><th scope=\"col\">Measured</th>\
         <th scope=\"col\">Standing</th></tr></thead><tbody>",
    );
    if rows.is_empty() {
        out.push_str("<tr><td colspan=\"4\">nothing was measured</td></tr>");
    }
    for row in rows {
        let said = |class: &str, texts: &[String]| -> String {
            texts.iter().map(|text| format!("<span class=\"{class}\">{}</span>", escape(text))).collect()
        };
        let notes = said("wrong", &row.wrong) + &said("note", &row.notes);
        let word = row.standing.word();
        let _ = write!(
            out,
            "<tr id=\"{}\"><th scope=\"row\">{}{notes}</th><td>{}</td><td>{}</td><td class=\"{}\">{word}</td></tr>",
            escape(&row.name),
            escape(&row.what),
            escape(&row.asked()),
            escape(&row.measured()),
            word.replace(' ', "-"),
        );
    }
    out.push_str("</tbody></table></div>");
}

fn name(transport: Transport, raw: bool) -> String {
    format!("{transport}, {}", if raw { "raw loop" } else { "server" })
}

const SIDES: [(Transport, bool); 4] =
    [(Transport::Udp, true), (Transport::Udp, false), (Transport::Tcp, true), (Transport::Tcp, false)];

/// One line for each transport and side.
fn series(points: &[Point], of: impl Fn(&[&Point]) -> Vec<(f64, f64)>) -> Vec<Series> {
    let each = SIDES.iter().enumerate().map(|(style, &(transport, raw))| {
        let mut own: Vec<&Point> =
            points.iter().filter(|point| point.transport == transport && point.raw == raw).collect();
        own.sort_by_key(|point| point.viewers);
        Series { name: name(transport, raw), style, points: of(&own) }
    });
    each.filter(|series| !series.points.is_empty()).collect()
}

/// The plots for which there is data.
pub(super) fn plots(points: &[Point]) -> Vec<Plot> {
    // The latency that is compared is the one at 500 viewers, or at the most below that.
    let most = points.iter().map(|point| point.viewers).filter(|viewers| *viewers <= 500).max();
    let latency = series(points, |own| {
        let at = own.iter().find(|point| Some(point.viewers) == most);
        at.map_or_else(Vec::new, |point| {
            point.latency_ms.iter().enumerate().map(|(place, ms)| (place as f64, *ms)).collect()
        })
    });
    let by_viewers = |of: fn(&Point) -> Option<f64>| {
        series(points, |own| {
            own.iter().filter_map(|point| Some((f64::from(point.viewers), of(point)?))).collect()
        })
    };
    let all = [
        Plot {
            title: "Added latency: server against raw loop",
            about: "From the moment at which a packet is to be sent to the moment its viewer has it in hand, at the \
                    largest measured number of viewers up to 500.",
            across: Across::Names("share of packets that were faster", &QUANTILES),
            up: "ms",
            series: latency,
            level: None,
        },
        Plot {
            title: "CPU time per delivered packet",
            about: "Of the sending threads. The raw loop does the same sends and nothing else.",
            across: Across::Counts("viewers"),
            up: "µs per packet",
            series: by_viewers(|point| point.cpu_us_per_packet.map(|cpu| cpu.median)),
            level: None,
        },
        Plot {
            title: "Ratio to the limit",
            about: "CPU time per packet of the server over that of the raw loop in the same round. 1 is what the \
                    kernel asks.",
            across: Across::Counts("viewers"),
            up: "server over raw loop",
            series: by_viewers(|point| point.ratio.map(|ratio| ratio.median)),
            level: Some((SCALE_MAX, format!("goal: at most {SCALE_MAX}"))),
        },
    ];
    all.into_iter().filter(|plot| !plot.series.is_empty()).collect()
}

fn points(out: &mut String, points: &[Point]) {
    out.push_str(
        "<details><summary>The numbers behind the plots</summary><div class=\"wide\"><table>\
         <caption>Medians: CPU time in µs per packet, latency in ms</caption><thead><tr><th scope=\"col\">Side</th>\
         <th scope=\"col\">Viewers</th><th scope=\"col\">CPU, sending</th><th scope=\"col\">CPU, process</th>\
         <th scope=\"col\">Ratio</th>",
    );
    for quantile in QUANTILES {
        let _ = write!(out, "<th scope=\"col\">{quantile}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    let median = |of: Option<Spread>| of.map_or_else(|| "-".to_owned(), |spread| number(spread.median));
    for point in points {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            name(point.transport, point.raw),
            point.viewers,
            median(point.cpu_us_per_packet),
            median(point.process_cpu_us_per_packet),
            median(point.ratio),
        );
        for ms in point.latency_ms {
            let _ = write!(out, "<td>{}</td>", number(ms));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></details>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::report::Goal;

    fn point(transport: Transport, raw: bool, viewers: u32) -> Point {
        let one = Spread { median: 1.0, least: 0.9, most: 1.1 };
        Point {
            transport,
            raw,
            viewers,
            cpu_us_per_packet: Some(one),
            process_cpu_us_per_packet: Some(one),
            latency_ms: [1.0, 2.0, 3.0, 4.0, 5.0],
            ratio: (!raw).then_some(one),
        }
    }

    #[track_caller]
    fn check_whole(page: &str, plots: usize) {
        assert_eq!(page.matches("<svg").count(), plots);
        for outside in ["http://", "https://", "<script", "<link", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for tag in ["table", "caption", "figure", "svg", "tr", "td", "th", "details", "span", "div", "main"] {
            let count = |text: String| page.matches(text.as_str()).count();
            let opened = count(format!("<{tag}>")) + count(format!("<{tag} "));
            assert_eq!(opened, count(format!("</{tag}>")), "{tag}");
        }
        assert_eq!(page.matches("<table").count(), page.matches("<caption").count());
    }

    #[test]
    fn what_was_not_measured_has_no_plot() {
        let empty = page(&Report::default()).unwrap();
        check_whole(&empty, 0);
        assert_eq!(empty.matches("nothing was measured").count(), 1);
        let unknown = Point { cpu_us_per_packet: None, ratio: None, ..point(Transport::Udp, false, 10) };
        let page = page(&Report { points: vec![unknown], ..Report::default() }).unwrap();
        check_whole(&page, 1);
        assert!(page.contains("Added latency") && !page.contains("Ratio to the limit"));
    }

    #[test]
    fn rows_and_points_are_shown_and_escaped() {
        let row = Row::new("a\"b", "<b>UDP</b>", Some(Goal::AtMost(1.2)), "x").values([1.0]);
        let wrong = Row::new("c", "C", None, "").values([1.0]).wrong(["3 < 4 viewers".to_owned()]);
        let points = SIDES.iter().flat_map(|&(transport, raw)| [10, 500].map(|n| point(transport, raw, n)));
        let report = Report {
            quick: true,
            load_before: 3.5,
            server: "<script>".to_owned(),
            rows: vec![row.note("5 < 6 & 7"), wrong],
            points: points.collect(),
            ..Report::default()
        };
        let page = page(&report).unwrap();
        check_whole(&page, 3);
        assert!(page.contains("&lt;b&gt;UDP&lt;/b&gt;") && page.contains("5 &lt; 6 &amp; 7"));
        assert!(page.contains("id=\"a&quot;b\"") && page.contains("class=\"held\">held<"));
        assert!(page.contains("class=\"wrong\">3 &lt; 4 viewers<") && page.contains("class=\"missed\""));
        assert!(page.contains("Other things ran") && page.contains("<td>3.5</td>"));
        assert!(page.contains("A quick run") && page.contains("goal: at most 1.25"));
    }

    #[test]
    fn the_latency_is_that_of_five_hundred_viewers() {
        let points = [10, 500, 2000].map(|viewers| Point {
            latency_ms: [f64::from(viewers); 5],
            ..point(Transport::Udp, true, viewers)
        });
        let plots = plots(&points);
        assert_eq!(plots.len(), 2, "the raw loop has no ratio");
        assert_eq!(plots[0].series[0].points, [0.0, 1.0, 2.0, 3.0, 4.0].map(|place| (place, 500.0)));
        assert_eq!(plots[1].series[0].points.len(), 3);
    }
}
