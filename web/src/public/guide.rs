//! The program guide: a month as a calendar, a day as a list and as a grid of channels by hours.

use std::{collections::BTreeMap, time::Duration};

use askama::Template;
use axum::{extract::Path, http::Uri};
use jiff::{ToSpan as _, civil::Date};
use slotcast_core::{time::WallTime, words::Window};
use slotcast_reservation::{
    domain::refusal::{Refusal, Thing},
    service::GuideDay,
};

use crate::{
    form::Form,
    page::{Answer, Fail, Frame, Part},
    program::Shown,
    visit::Visit,
};

/// Channels of one page of the grid.
const CHANNELS_A_PAGE: usize = 10;
/// The grid's unit.
const CELL: Duration = Duration::from_secs(600);
/// Cells of an hour.
const CELLS_AN_HOUR: u64 = 6;
/// Titles that stand in one day of the month.
pub(crate) const TITLES_A_DAY: usize = 3;

/// One day of the month's calendar.
pub(crate) struct Cell {
    pub(crate) date: Date,
    pub(crate) label: String,
    pub(crate) is_today: bool,
    pub(crate) programs: Vec<Shown>,
}

impl Cell {
    fn first(&self) -> &[Shown] {
        self.programs.get(..TITLES_A_DAY.min(self.programs.len())).unwrap_or_default()
    }

    fn more(&self) -> usize {
        self.programs.len().saturating_sub(TITLES_A_DAY)
    }
}

#[derive(Template)]
#[template(path = "guide_month.html")]
pub(crate) struct MonthPage {
    pub(crate) f: Frame,
    pub(crate) title: String,
    pub(crate) weekdays: Vec<&'static str>,
    /// Weeks from Monday on; `None`: a day of another month.
    pub(crate) weeks: Vec<Vec<Option<Cell>>>,
    pub(crate) month: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) count: usize,
}

/// What stands in a row of the grid.
pub(crate) struct Row {
    pub(crate) channel: u16,
    /// Cells that it spans, and the program; `None`: free.
    pub(crate) pieces: Vec<(u64, Option<Shown>)>,
    /// The same for phones.
    pub(crate) programs: Vec<Shown>,
}

#[derive(Template)]
#[template(path = "guide_day.html")]
pub(crate) struct DayPage {
    pub(crate) f: Frame,
    pub(crate) title: String,
    pub(crate) date: Date,
    pub(crate) month: String,
    pub(crate) month_title: String,
    pub(crate) before: Option<Date>,
    pub(crate) after: Option<Date>,
    pub(crate) programs: Vec<Shown>,
    pub(crate) hours: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) page: usize,
    pub(crate) pages: usize,
}

pub(super) async fn this_month(visit: Visit) -> Answer {
    let today = Frame::new(&visit, Part::Guide).written.date_at(visit.now());
    month(&visit, today.first_of_month()).await
}

/// `2026-11` or `2026-11-27`.
pub(super) async fn guide(visit: Visit, Path(when): Path<String>, uri: Uri) -> Answer {
    let no_date = || Fail(Refusal::NotFound(Thing::Date));
    match when.len() {
        7 => month(&visit, format!("{when}-01").parse().map_err(|_| no_date())?).await,
        10 => day(&visit, when.parse().map_err(|_| no_date())?, &uri).await,
        _ => Err(no_date()),
    }
}

async fn month(visit: &Visit, first: Date) -> Answer {
    let f = Frame::new(visit, Part::Guide);
    let days = visit.web().service().guide_month(visit.actor(), (first.year(), first.month()), None).await?;
    let count = days.iter().map(|day| day.programs.len()).sum();
    let weeks = weeks(&f, &days, first);
    let weekdays = first.weekday().cycle_forward().take(7).collect::<Vec<_>>();
    let mut weekdays: Vec<_> = weekdays;
    weekdays.sort_by_key(|weekday| weekday.to_monday_zero_offset());
    let weekdays = weekdays.into_iter().map(|weekday| f.written.weekday(weekday)).collect();
    let page = MonthPage {
        title: f.written.month(first),
        weekdays,
        weeks,
        month: name(first),
        before: first.checked_sub(1.month()).ok().map(name),
        after: first.checked_add(1.month()).ok().map(name),
        count,
        f,
    };
    page.f.page(&page)
}

/// `2026-11`.
fn name(date: Date) -> String {
    format!("{:04}-{:02}", date.year(), date.month())
}

fn weeks(f: &Frame, days: &[GuideDay], first: Date) -> Vec<Vec<Option<Cell>>> {
    let today = f.written.date_at(f.now());
    let blanks = usize::try_from(first.weekday().to_monday_zero_offset()).unwrap_or(0);
    let mut cells: Vec<Option<Cell>> = (0..blanks).map(|_| None).collect();
    cells.extend(days.iter().map(|day| {
        Some(Cell {
            date: day.date,
            label: f.written.day(day.date),
            is_today: day.date == today,
            programs: day.programs.iter().map(|listing| Shown::of(listing, f)).collect(),
        })
    }));
    while !cells.len().is_multiple_of(7) {
        cells.push(None);
    }
    let mut weeks = Vec::new();
    let mut rest = cells.into_iter().peekable();
    while rest.peek().is_some() {
        weeks.push(rest.by_ref().take(7).collect());
    }
    weeks
}

async fn day(visit: &Visit, date: Date, uri: &Uri) -> Answer {
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let f = Frame::new(visit, Part::Guide);
    let listings = visit.web().service().guide_day(visit.actor(), date, None).await?;
    let programs: Vec<_> = listings.iter().map(|listing| Shown::of(listing, &f)).collect();
    let whole = f.written.span_of(date).ok_or(Refusal::NotFound(Thing::Date))?;
    let span = busy_hours(&programs, whole);
    let mut by_channel: BTreeMap<u16, Vec<Shown>> = BTreeMap::new();
    for program in &programs {
        by_channel.entry(program.channel).or_default().push(program.clone());
    }
    let pages = by_channel.len().div_ceil(CHANNELS_A_PAGE).max(1);
    let page = query.get("page").and_then(|page| page.parse().ok()).unwrap_or(1_usize).clamp(1, pages);
    let rows = by_channel.into_iter().skip((page - 1) * CHANNELS_A_PAGE).take(CHANNELS_A_PAGE);
    let rows = rows.map(|(channel, programs)| row(channel, programs, span)).collect();
    let page = DayPage {
        title: f.written.day(date),
        date,
        month: name(date),
        month_title: f.written.month(date),
        before: date.yesterday().ok(),
        after: date.tomorrow().ok(),
        hours: hours(&f, span),
        programs,
        rows,
        page,
        pages,
        f,
    };
    page.f.page(&page)
}

/// The hours of the day from its first program to its last, at least six of them.
fn busy_hours(programs: &[Shown], whole: Window) -> Window {
    const HOUR: i64 = 3_600_000_000;
    let from = whole.start().as_micros();
    let hours_of_day = (whole.end().as_micros() - from).div_euclid(HOUR);
    let first = programs.iter().map(|program| program.window.start().as_micros()).min().unwrap_or(from);
    let last = programs.iter().map(|program| program.window.end().as_micros()).max().unwrap_or(from);
    let first = (first - from).div_euclid(HOUR).clamp(0, hours_of_day - 1);
    let last = (last - from + HOUR - 1).div_euclid(HOUR).clamp(first + 1, hours_of_day);
    let first = first.min((hours_of_day - 6).max(0));
    let last = last.max((first + 6).min(hours_of_day));
    let at = |hours: i64| WallTime::from_micros(from + hours * HOUR);
    Window::new(at(first), at(last)).unwrap_or(whole)
}

fn hours(f: &Frame, span: Window) -> Vec<String> {
    let mut hours = Vec::new();
    let mut at = span.start();
    while at < span.end() {
        hours.push(format!("{:02}:00", f.written.zoned(at).hour()));
        at = at.saturating_add(CELL * CELLS_AN_HOUR as u32);
    }
    hours
}

/// A channel's programs as cells of ten minutes, what is free between them too.
fn row(channel: u16, programs: Vec<Shown>, span: Window) -> Row {
    let cells = |at: WallTime| at.since(span.start()).as_secs();
    let all = cells(span.end()) / CELL.as_secs();
    let (mut pieces, mut filled) = (Vec::new(), 0);
    for program in &programs {
        let start = (cells(program.window.start()) / CELL.as_secs()).clamp(filled, all);
        let end = cells(program.window.end()).div_ceil(CELL.as_secs()).min(all);
        if end <= start {
            continue;
        }
        if start > filled {
            pieces.push((start - filled, None));
        }
        pieces.push((end - start, Some(program.clone())));
        filled = end;
    }
    if filled < all {
        pieces.push((all - filled, None));
    }
    Row { channel, pieces, programs }
}
