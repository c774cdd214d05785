//! Reading costs at most 2.5 times the float32 matrix. Alone in its file: the figure is the process's.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code; it prints what it measured")]

use serin_dataset::simulate::Simulation;
use serin_dataset::{Roles, read, write_transactions};

/// Largest resident size so far, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Sets the peak back to the present size.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[test]
fn reading_takes_at_most_two_and_a_half_matrices() {
    let folder = tempfile::tempdir().unwrap();
    let simulation = Simulation { customers: 4_000, terminals: 2_000, days: 90, ..Simulation::default() };
    for name in ["a.parquet", "a.csv"] {
        let path = folder.path().join(name);
        write_transactions(&simulation, &path, &mut |_| {}).unwrap();
        let roles = Roles {
            label: "TX_FRAUD".into(),
            time: Some("TX_DATETIME".into()),
            entity: Some("CUSTOMER_ID".into()),
            amount: Some("TX_AMOUNT".into()),
            ..Roles::default()
        };
        forget_peak();
        let before = peak();
        let dataset = read(path.to_str().unwrap(), &roles, &mut |_, _, _| {}).unwrap();
        let matrix = dataset.features.len() * size_of::<f32>();
        let used = peak() - before;
        println!("{name}: {} rows, {used} bytes for a matrix of {matrix}", dataset.rows());
        assert!(dataset.rows() > 500_000);
        assert!((used as f64) < 2.5 * matrix as f64, "{name}: {used} bytes for a matrix of {matrix}");
    }
}
