//! `serin drift`: two files, column by column, as Evidently 0.7.23 would compare them.

mod report;

use super::{progress, say};
use crate::cli::{Drift, FailOn};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use serin_analysis::drift::evidently::{ColumnDrift, evidently_report};
use serin_analysis::drift::{Drift as Found, DriftError, Method, Samples, are_codes};
use serin_dataset::{Table, TableColumn, Values};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Exit status when the condition of `--fail-on` holds.
const DRIFTED: i32 = 3;

/// A column that was looked at.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) numbers: bool,
    pub(super) found: Result<Found, DriftError>,
    /// Shares of missing values, reference and current.
    pub(super) missing: [f64; 2],
    /// Shares in bins of both, for the picture.
    pub(super) bars: Vec<(String, f64, f64)>,
}

/// How a column is compared.
enum Comparable {
    Numbers { reference: Vec<f64>, current: Vec<f64>, whole: bool },
    Categories { reference: Vec<f64>, current: Vec<f64>, levels: Vec<String> },
}

pub(crate) fn run(args: &Drift) -> anyhow::Result<()> {
    let methods = Methods::parse(args)?;
    let sides = [Side::open(&args.reference, &args.columns)?, Side::open(&args.current, &args.columns)?];
    if let Some(name) = sides[0].names.iter().find(|name| !sides[1].names.contains(name)) {
        bail!("column {name:?} of {} is not in {}", args.reference, args.current);
    }
    let looked = compare(&sides, &methods, args.html.is_some())?;
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    for (name, looked) in looked {
        match looked {
            Ok(column) => columns.push(column),
            Err(why) => left_out.push(format!("{name} ({why})")),
        }
    }
    if columns.is_empty() {
        bail!("there is no column of numbers or categories to compare: {}", left_out.join(", "));
    }
    let drifted = columns.iter().filter(|column| column.found.as_ref().is_ok_and(|found| found.drifted)).count();
    let share = drifted as f64 / columns.len() as f64;
    let dataset = share >= args.drift_share;
    if let Some(path) = &args.html {
        let page = report::page(&args.reference, &args.current, &columns, args.drift_share);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.evidently_json {
        let written = serde_json::to_vec_pretty(&evidently_report(&tested(&columns), args.drift_share))?;
        std::fs::write(path, written).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        let shown: Vec<Value> = columns.iter().map(shown).collect();
        say(
            json!({ "drifted_columns": drifted, "columns_compared": columns.len(), "share": share, "dataset_drift": dataset, "columns": shown, "left_out": left_out }),
        );
    } else {
        print(&columns);
        let word = if dataset { "drift" } else { "no drift" };
        say(format_args!(
            "{drifted} of {} columns drifted ({:.0} %, {word} from {:.0} %)",
            columns.len(),
            share * 100.0,
            args.drift_share * 100.0
        ));
        if !left_out.is_empty() {
            say(format_args!("not compared: {}", left_out.join(", ")));
        }
    }
    let fails = match args.fail_on {
        FailOn::Never => false,
        FailOn::Dataset => dataset,
        FailOn::Column => drifted > 0,
    };
    if fails {
        // The result is out; a pipeline looks at the status.
        super::leave(DRIFTED);
    }
    Ok(())
}

/// Tests and thresholds by column, by kind, and for all; the closest one counts.
struct Methods {
    columns: BTreeMap<String, Method>,
    numbers: Option<Method>,
    categories: Option<Method>,
    all: Option<Method>,
    threshold: Option<f64>,
}

impl Methods {
    fn parse(args: &Drift) -> anyhow::Result<Self> {
        let method = |text: &String| text.parse::<Method>().map_err(anyhow::Error::msg);
        let mut columns = BTreeMap::new();
        for (name, text) in &args.column_method {
            columns.insert(name.clone(), method(text)?);
        }
        Ok(Self {
            columns,
            numbers: args.num_method.as_ref().map(method).transpose()?,
            categories: args.cat_method.as_ref().map(method).transpose()?,
            all: args.method.as_ref().map(method).transpose()?,
            threshold: args.threshold,
        })
    }

    fn of(&self, name: &str, numbers: bool) -> Option<Method> {
        let by_kind = if numbers { self.numbers } else { self.categories };
        self.columns.get(name).copied().or(by_kind).or(self.all)
    }
}

/// The kind that pandas' types would give it, by Evidently's rules; the current side's counts.
fn comparable(reference: TableColumn, current: TableColumn) -> Result<Comparable, &'static str> {
    let number = |truth: Option<bool>| truth.map_or(f64::NAN, |truth| f64::from(u8::from(truth)));
    Ok(match (reference.values, current.values) {
        (Values::Numbers { values: reference, whole: a }, Values::Numbers { values: current, whole: b }) => {
            if b && are_codes(&current) {
                Comparable::Categories { reference, current, levels: Vec::new() }
            } else {
                Comparable::Numbers { reference, current, whole: a && b }
            }
        }
        (Values::Booleans(reference), Values::Booleans(current)) => Comparable::Categories {
            reference: reference.into_iter().map(number).collect(),
            current: current.into_iter().map(number).collect(),
            levels: vec!["false".to_owned(), "true".to_owned()],
        },
        (Values::Texts { codes: a, levels: known }, Values::Texts { codes: b, levels: others }) => {
            let present = b.iter().flatten().count();
            if others.len() as f64 > 0.5 * present as f64 {
                return Err("free text");
            }
            // Codes in the order of the texts, over both sides.
            let mut levels: Vec<String> = known.iter().chain(&others).cloned().collect();
            levels.sort();
            levels.dedup();
            let place = |text: &String| levels.binary_search(text).map_or(f64::NAN, |place| place as f64);
            let coded = |codes: Vec<Option<u32>>, texts: &[String]| {
                let places: Vec<f64> = texts.iter().map(place).collect();
                codes.into_iter().map(|code| code.map_or(f64::NAN, |code| places[code as usize])).collect()
            };
            let (reference, current) = (coded(a, &known), coded(b, &others));
            Comparable::Categories { reference, current, levels }
        }
        (Values::Times(_), Values::Times(_)) => return Err("points in time"),
        _ => return Err("another type on each side"),
    })
}

/// One of the two files.
struct Side {
    pattern: String,
    names: Vec<String>,
    /// Of CSV, which is read in one go; columns of Parquet are read one by one, so that few are in memory.
    whole: Option<std::sync::Mutex<BTreeMap<String, TableColumn>>>,
}

impl Side {
    fn open(pattern: &str, only: &[String]) -> anyhow::Result<Self> {
        let (names, single) = Table::names(pattern)?;
        let only = (!only.is_empty()).then_some(only);
        let names = only.map_or(names, <[String]>::to_vec);
        let read = || -> anyhow::Result<_> {
            let bar = progress::bar("reading", 100);
            let table = Table::read(pattern, only, &mut |_, done, all| bar.set_position(done * 100 / all.max(1)))?;
            bar.finish_and_clear();
            let columns = table.columns.into_iter().map(|column| (column.name.clone(), column));
            Ok(std::sync::Mutex::new(columns.collect()))
        };
        Ok(Self { pattern: pattern.to_owned(), names, whole: if single { None } else { Some(read()?) } })
    }

    fn take(&self, name: &str) -> anyhow::Result<TableColumn> {
        let column = match &self.whole {
            Some(columns) => columns.lock().unwrap_or_else(PoisonError::into_inner).remove(name),
            None => Table::read(&self.pattern, Some(&[name.to_owned()]), &mut |_, _, _| {})?.columns.pop(),
        };
        column.with_context(|| format!("column {name:?} of {} vanished", self.pattern))
    }
}

type Looked = (String, Result<Column, &'static str>);

/// Every column on the threads that there are; what is compared is let go.
fn compare(sides: &[Side; 2], methods: &Methods, pictures: bool) -> anyhow::Result<Vec<Looked>> {
    let names = &sides[0].names;
    let next = AtomicUsize::new(0);
    let bar = progress::bar("comparing", names.len() as u64);
    let look = |name: &String| -> anyhow::Result<Result<Column, &'static str>> {
        let pair = comparable(sides[0].take(name)?, sides[1].take(name)?);
        Ok(pair.map(|pair| one(name.clone(), pair, methods, pictures)))
    };
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(number) else { return Ok(done) };
            done.push((number, look(name)?));
            bar.inc(1);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(names.len().max(1));
    let results: Vec<anyhow::Result<Vec<_>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a column could not be compared; the log says why")))
        };
        workers.into_iter().map(ended).collect()
    });
    bar.finish_and_clear();
    let mut looked = Vec::new();
    for result in results {
        looked.extend(result?);
    }
    looked.sort_by_key(|(number, _)| *number);
    Ok(looked.into_iter().map(|(number, looked)| (names[number].clone(), looked)).collect())
}

fn one(name: String, pair: Comparable, methods: &Methods, pictures: bool) -> Column {
    let share = |values: &[f64]| {
        let missing = values.iter().filter(|value| !value.is_finite()).count();
        missing as f64 / values.len().max(1) as f64
    };
    let (samples, numbers, missing, levels) = match pair {
        Comparable::Numbers { reference, current, whole } => {
            let missing = [share(&reference), share(&current)];
            (Samples::numbers(reference, current, whole), true, missing, Vec::new())
        }
        Comparable::Categories { reference, current, levels } => {
            let missing = [share(&reference), share(&current)];
            (Samples::categories(reference, current), false, missing, levels)
        }
    };
    let bars = samples.as_ref().map_or_else(
        |_| Vec::new(),
        |samples| {
            if pictures { labelled(samples.histogram(), &levels) } else { Vec::new() }
        },
    );
    let found = samples.and_then(|samples| samples.drift(methods.of(&name, numbers), methods.threshold));
    Column { name, numbers, found, missing, bars }
}

fn labelled(bars: Vec<(f64, f64, f64)>, levels: &[String]) -> Vec<(String, f64, f64)> {
    let label = |value: f64| {
        levels
            .get(value as usize)
            .cloned()
            .unwrap_or_else(|| format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned())
    };
    bars.into_iter().map(|(value, reference, current)| (label(value), reference, current)).collect()
}

fn kind(column: &Column) -> &'static str {
    if column.numbers { "num" } else { "cat" }
}

fn shown(column: &Column) -> Value {
    let mut shown = json!({
        "column": column.name, "type": kind(column),
        "missing_reference": column.missing[0], "missing_current": column.missing[1],
    });
    match &column.found {
        Ok(found) => {
            shown["method"] = json!(found.method.to_string());
            // NaN is no JSON: null says that the test says nothing.
            shown["score"] = json!(found.score);
            shown["threshold"] = json!(found.threshold);
            shown["drifted"] = json!(found.drifted);
        }
        Err(error) => shown["error"] = json!(error.to_string()),
    }
    shown
}

fn print(columns: &[Column]) {
    let width = columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).max(6);
    say(format_args!("{:width$}  type  {:30}  {:>11}  {:>9}  drift", "column", "test", "score", "threshold"));
    for column in columns {
        match &column.found {
            Ok(found) => say(format_args!(
                "{:width$}  {}   {:30}  {:>11.6}  {:>9}  {}",
                column.name,
                kind(column),
                found.method.display_name(),
                found.score,
                found.threshold,
                if found.drifted { "yes" } else { "no" }
            )),
            Err(error) => say(format_args!("{:width$}  {}   {error}", column.name, kind(column))),
        }
    }
}

/// Columns whose test could be made.
fn tested(columns: &[Column]) -> Vec<ColumnDrift> {
    let tested = |column: &Column| Some(ColumnDrift::of(&column.name, column.found.as_ref().ok()?));
    columns.iter().filter_map(tested).collect()
}
