//! `serin simulate`: transactions into a file.

use super::{progress, say};
use crate::cli::Simulate;
use anyhow::Context;
use serin_dataset::simulate::{Drift, Simulation};
use serin_dataset::write_transactions;
use std::path::Path;
use std::time::Instant;

pub(crate) fn run(args: &Simulate) -> anyhow::Result<()> {
    let drifts = args.drift.iter().map(|text| text.parse::<Drift>()).collect::<Result<Vec<_>, _>>()?;
    let simulation = Simulation {
        customers: args.customers,
        terminals: args.terminals,
        days: args.days,
        seed: args.seed,
        drifts,
        ..Simulation::default()
    };
    let start = Instant::now();
    let rows = write(&simulation, &args.out)?;
    say(format_args!(
        "{rows} transactions of {} days in {} ({:.1} s)",
        args.days,
        args.out.display(),
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

pub(crate) fn write(simulation: &Simulation, path: &Path) -> anyhow::Result<u64> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let bar = progress::bar("simulating", u64::from(simulation.days));
    let rows = write_transactions(simulation, path, &mut |day| bar.set_position(u64::from(day) + 1))?;
    bar.finish_and_clear();
    Ok(rows)
}
