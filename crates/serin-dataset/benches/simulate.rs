//! `make bench-simulate`: simulated transactions a second on one core, beside writing them to Parquet
//! and a limit of the same run: copying as many columns in memory.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a benchmark prints")]

use serin_dataset::simulate::Simulation;
use serin_dataset::write_transactions;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let simulation = Simulation::default();
    let file = std::env::temp_dir().join(format!("serin-bench-{}.parquet", std::process::id()));
    let (mut rows, mut simulate, mut write) = (0u64, f64::MAX, f64::MAX);
    for _ in 0..3 {
        rows = 0;
        let start = Instant::now();
        let Ok(()) = simulation.run(|_, day| {
            rows += black_box(day).len() as u64;
            Ok::<(), Infallible>(())
        });
        simulate = simulate.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        write_transactions(&simulation, &file, &mut |_| {}).expect("writes");
        write = write.min(start.elapsed().as_secs_f64());
    }
    let bytes = std::fs::metadata(&file).map_or(0, |meta| meta.len());
    let _ = std::fs::remove_file(&file);
    // What no generator can beat.
    let columns = vec![1.0f64; rows as usize];
    let start = Instant::now();
    for _ in 0..23 {
        black_box(columns.clone());
    }
    let copy = start.elapsed().as_secs_f64();
    let million = rows as f64 / 1e6;
    println!("{rows} transactions of {} days, {} customers, one core", simulation.days, simulation.customers);
    println!(
        "{:<34} {:>8.2} s {:>8.2} M/s (goal 1 M/s)",
        "simulate, 12 windowed columns",
        simulate,
        million / simulate
    );
    println!("{:<34} {:>8.2} s {:>8.2} M/s ({} MB)", "the same into Parquet", write, million / write, bytes >> 20);
    println!("{:<34} {:>8.2} s {:>8.2} M/s (limit)", "copying 23 columns in memory", copy, million / copy);
}
