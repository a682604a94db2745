//! One configuration as three layers: the environment over the file over the defaults.
//!
//! Owns: [`Reader`], which collects every problem and remembers where each value was written, and [`Section`],
//! one table of it.
//! Invariant: every key, table and variable that nothing reads is reported, with the nearest name that exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Environment,
    problem::{Place, Problem},
    values::{Raw, Reading, secret, text},
};

/// What every variable of ours starts with.
const PREFIX: &str = "SLOTCAST_";

/// Most bytes of a file that holds a secret.
const SECRET_FILE_BYTES_MAX: u64 = 4 * 1024;

/// Of an unknown name, what is compared with the known ones.
const NAME_CHARS_COMPARED: usize = 64;

/// What is being read, and what was found wrong so far.
pub(super) struct Reader<'a> {
    text: &'a str,
    file: &'a DeTable<'a>,
    defaults: &'a DeTable<'a>,
    environment: &'a Environment,
    directory: &'a Path,
    known_tables: BTreeSet<&'static str>,
    known_variables: BTreeSet<String>,
    places: BTreeMap<String, Place>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// - `directory`: where relative names of secret files start.
    pub(super) fn new(
        text: &'a str,
        file: &'a DeTable<'a>,
        defaults: &'a DeTable<'a>,
        environment: &'a Environment,
        directory: &'a Path,
    ) -> Self {
        Self {
            text,
            file,
            defaults,
            environment,
            directory,
            known_tables: BTreeSet::new(),
            known_variables: BTreeSet::new(),
            places: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// The table `[name]`, which the file may leave out.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        self.known_tables.insert(name);
        let entry = entry(self.file, name);
        let place = entry.map_or(Place::Absent, |(line, _)| Place::Line(line_of(self.text, line)));
        let file = entry.and_then(|(_, value)| value.as_table());
        if entry.is_some() && file.is_none() {
            self.problems
                .push(Problem::error(place.clone(), format!("{name}: expected a table: write [{name}]")));
        }
        let defaults = entry_of_table(self.defaults, name);
        let prefix = format!("{PREFIX}{}__", name.to_ascii_uppercase());
        Section { reader: self, path: name.to_owned(), prefix, place, file, defaults, asked: Vec::new() }
    }

    /// How many tables `[[name]]` the file has; anything else under that name is a problem.
    pub(super) fn items(&mut self, name: &'static str) -> usize {
        self.known_tables.insert(name);
        let Some((at, value)) = entry(self.file, name) else { return 0 };
        match value.as_array() {
            Some(array) if array.iter().all(|item| item.get_ref().is_table()) => array.len(),
            _ => {
                let place = Place::Line(line_of(self.text, at));
                let text = format!("{name}: expected a list of tables: write [[{name}]]");
                self.problems.push(Problem::error(place, text));
                0
            }
        }
    }

    /// The table `[[name]]` with that index; it has no defaults.
    pub(super) fn item(&mut self, name: &'static str, index: usize) -> Section<'_, 'a> {
        let item =
            entry(self.file, name).and_then(|(_, value)| value.as_array()).and_then(|array| array.get(index));
        let place = item.map_or(Place::Absent, |item| Place::Line(line_of(self.text, item.span().start)));
        let file = item.and_then(|item| item.get_ref().as_table());
        let path = format!("{name}[{index}]");
        if file.is_none() {
            self.problems
                .push(Problem::error(place.clone(), format!("{name}: expected tables: write [[{name}]]")));
        }
        self.places.insert(path.clone(), place.clone());
        let prefix = format!("{PREFIX}{}__{index}__", name.to_ascii_uppercase());
        Section { reader: self, path, prefix, place, file, defaults: None, asked: Vec::new() }
    }

    /// Reports tables, keys and variables that nobody asked for. Hands out where every value was written, and
    /// everything that was found wrong.
    pub(super) fn finish(mut self) -> (Places, Vec<Problem>) {
        for key in self.file.keys() {
            let name = key.get_ref().as_ref();
            if !self.known_tables.contains(name) {
                let place = Place::Line(line_of(self.text, key.span().start));
                let hint = nearest(name, self.known_tables.iter().copied());
                self.problems.push(Problem::error(place, format!("unknown table {name:?}{hint}")));
            }
        }
        for name in self.environment.names() {
            let ours = name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__"));
            if ours && !self.known_variables.contains(name) {
                let hint = nearest(name, self.known_variables.iter().map(String::as_str));
                let place = Place::Variable(name.to_owned());
                self.problems.push(Problem::error(place, format!("unknown setting{hint}")));
            }
        }
        (Places(self.places), self.problems)
    }
}

/// Where each value was written, by its path: `links.lines`, `programs[1].end`.
pub(super) struct Places(BTreeMap<String, Place>);

impl Places {
    /// Where the value of `path` was written; where its table starts, if it is not written.
    pub(super) fn of(&self, path: &str) -> Place {
        let table = path.rsplit_once('.').map_or(path, |(table, _)| table);
        [path, table].iter().find_map(|path| self.0.get(*path)).cloned().unwrap_or(Place::Absent)
    }
}

/// One table. Ask for every key, then [`finish`](Self::finish) it.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    path: String,
    prefix: String,
    place: Place,
    file: Option<&'a DeTable<'a>>,
    defaults: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'_, 'a> {
    /// The value of `key`, read by `read`. `None`: written nowhere, or wrong, and then it is reported.
    pub(super) fn optional<T>(&mut self, key: &'static str, read: fn(Raw<'_>) -> Reading<T>) -> Option<T> {
        let (place, raw) = self.find(key)?;
        self.reader.places.insert(format!("{}.{key}", self.path), place.clone());
        match read(raw) {
            Ok(value) => Some(value),
            Err(text) => {
                self.reader.problems.push(Problem::error(place, format!("{}.{key}: {text}", self.path)));
                None
            }
        }
    }

    /// As [`optional`](Self::optional), and it is reported if it is written nowhere.
    pub(super) fn required<T>(&mut self, key: &'static str, read: fn(Raw<'_>) -> Reading<T>) -> Option<T> {
        if self.find(key).is_none() {
            let text = format!("{}: {key} is missing: add a line {key} = …", self.path);
            self.reader.problems.push(Problem::error(self.place.clone(), text));
            return None;
        }
        self.optional(key, read)
    }

    /// A path: beside the file that names it, wherever the process runs.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.optional(key, text).map(|name| self.reader.directory.join(name))
    }

    /// A secret: `key` itself, or the first line of the file that `KEY_file` names. `None`: neither, or wrong.
    pub(super) fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<String> {
        let plain = self.optional(key, secret);
        let written = self.find(key).is_some();
        let Some(name) = self.optional(key_file, text) else { return plain };
        let place =
            self.reader.places.get(&format!("{}.{key_file}", self.path)).cloned().unwrap_or(Place::Absent);
        if written {
            let text = format!("{}: both {key} and {key_file}: leave one out", self.path);
            self.reader.problems.push(Problem::error(place, text));
            return None;
        }
        match read_secret(&self.reader.directory.join(name)) {
            Ok(secret) => Some(secret),
            Err(text) => {
                self.reader.problems.push(Problem::error(place, format!("{}.{key_file}: {text}", self.path)));
                plain
            }
        }
    }

    /// Whether `key` is written anywhere, right or wrong.
    pub(super) fn is_written(&mut self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// Reports what is wrong with the table as a whole.
    pub(super) fn report(&mut self, text: &str) {
        self.reader.problems.push(Problem::error(self.place.clone(), format!("{}: {text}", self.path)));
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let unknown = self.file.into_iter().flat_map(|table| table.keys());
        for key in unknown.filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let place = Place::Line(line_of(self.reader.text, key.span().start));
            let hint = nearest(key.get_ref(), self.asked.iter().copied());
            let text = format!("{}: unknown key {:?}{hint}", self.path, key.get_ref());
            self.reader.problems.push(Problem::error(place, text));
        }
    }

    /// The topmost layer that has `key`.
    fn find(&mut self, key: &'static str) -> Option<(Place, Raw<'a>)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let variable = format!("{}{}", self.prefix, key.to_ascii_uppercase());
        let environment: &'a Environment = self.reader.environment;
        let from_environment = environment.value(&variable);
        self.reader.known_variables.insert(variable.clone());
        if let Some(value) = from_environment {
            return Some((Place::Variable(variable), Raw::Variable(value)));
        }
        if let Some((at, value)) = self.file.and_then(|table| entry(table, key)) {
            return Some((Place::Line(line_of(self.reader.text, at)), Raw::Toml(value)));
        }
        let (_, value) = self.defaults.and_then(|table| entry(table, key))?;
        Some((Place::Absent, Raw::Toml(value)))
    }
}

/// Where the key starts, and its value.
fn entry<'a>(table: &'a DeTable<'a>, name: &str) -> Option<(usize, &'a DeValue<'a>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
    Some((key.span().start, value.get_ref()))
}

fn entry_of_table<'a>(table: &'a DeTable<'a>, name: &str) -> Option<&'a DeTable<'a>> {
    entry(table, name).and_then(|(_, value)| value.as_table())
}

/// The line, from 1, on which byte `at` lies.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// The one line of a secret's file.
fn read_secret(path: &Path) -> Reading<String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if !size.is_file() || size.len() > SECRET_FILE_BYTES_MAX {
        return Err(format!("expected a file of at most {SECRET_FILE_BYTES_MAX} bytes at {shown}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    secret(Raw::Variable(line.strip_suffix('\r').unwrap_or(line)))
}

/// `; did you mean "X"?` where X is near enough to `name`, else which names there are.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    // Compared in full, a name of a megabyte would cost minutes.
    let start: String = name.chars().take(NAME_CHARS_COMPARED).collect();
    let best = known.iter().map(|candidate| (strsim::osa_distance(&start, candidate), *candidate)).min();
    match best {
        Some((distance, candidate)) if distance <= (name.len() / 3).max(2) => {
            format!("; did you mean {candidate:?}?")
        }
        _ if known.len() <= 16 => format!("; known are {}", known.join(", ")),
        _ => "; `slotcast print-config` shows all there are".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_names_are_not_guessed() {
        for near in ["lisen", "lisetn", "Listen"] {
            assert_eq!(nearest(near, ["listen", "lines"].into_iter()), "; did you mean \"listen\"?");
        }
        assert_eq!(nearest("colour", ["seats", "rate"].into_iter()), "; known are seats, rate");
    }
}
