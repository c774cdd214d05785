//! The windowed columns against the published data set: counts and risks exactly, averages to float64's rounding.
//!
//! A few rows share entity and second. Which of them comes first was left to an unstable sort when the data
//! were made, so for those only the sums over the tie are compared.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code; a skip is said")]

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serin_dataset::windows::Windows;
use std::collections::HashMap;
use std::path::Path;

fn column(batch: &RecordBatch, name: &str) -> Vec<f64> {
    let column: &ArrayRef = batch.column_by_name(name).unwrap();
    cast(column, &DataType::Float64).unwrap().as_primitive::<Float64Type>().values().to_vec()
}

#[test]
fn the_published_columns_are_reproduced() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/handbook_2018-04-01_2018-08-14.parquet");
    if !path.exists() {
        println!("SKIPPED: {} is not there (published data, not redistributable)", path.display());
        return;
    }
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(1 << 16).build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let tied = |entity: &str| {
        let keys = batches.iter().flat_map(|batch| {
            let seconds = column(batch, "TX_TIME_SECONDS");
            column(batch, entity).into_iter().zip(seconds).map(|(entity, second)| (entity as u32, second as i64))
        });
        let mut count = HashMap::<(u32, i64), u32>::new();
        keys.for_each(|key| *count.entry(key).or_default() += 1);
        count.retain(|_, count| *count > 1);
        count
    };
    let (tied_customers, tied_terminals) = (tied("CUSTOMER_ID"), tied("TERMINAL_ID"));
    assert!(!tied_customers.is_empty() && tied_customers.len() < 30 && tied_terminals.len() < 15);
    let mut ties = [[0.0; 2]; 2];
    let mut windows = Windows::default();
    let mut rows = 0;
    for batch in batches {
        let [seconds, customer, terminal, amount, fraud] =
            ["TX_TIME_SECONDS", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"].map(|name| column(&batch, name));
        let expected: Vec<[Vec<f64>; 4]> = ["1DAY", "7DAY", "30DAY"]
            .iter()
            .map(|days| {
                ["CUSTOMER_ID_NB_TX", "CUSTOMER_ID_AVG_AMOUNT", "TERMINAL_ID_NB_TX", "TERMINAL_ID_RISK"]
                    .map(|name| column(&batch, &format!("{name}_{days}_WINDOW")))
            })
            .collect();
        for row in 0..batch.num_rows() {
            let ours = windows.next(
                seconds[row] as i64,
                customer[row] as u32,
                terminal[row] as u32,
                amount[row],
                fraud[row] == 1.0,
            );
            let second = seconds[row] as i64;
            let customer_tied = tied_customers.contains_key(&(customer[row] as u32, second));
            let terminal_tied = tied_terminals.contains_key(&(terminal[row] as u32, second));
            for (slot, [count, average, terminal_count, risk]) in expected.iter().enumerate() {
                let place = format!("row {}, window {slot}", rows + row);
                if customer_tied {
                    ties[0][0] += ours.customer_count[slot];
                    ties[0][1] += count[row];
                } else {
                    assert_eq!(ours.customer_count[slot], count[row], "{place}");
                    let difference = (ours.customer_average[slot] - average[row]).abs();
                    assert!(difference <= 1e-11, "{place}: {} and {}", ours.customer_average[slot], average[row]);
                }
                if terminal_tied {
                    ties[1][0] += ours.terminal_count[slot];
                    ties[1][1] += terminal_count[row];
                } else {
                    assert_eq!(ours.terminal_count[slot], terminal_count[row], "{place}");
                    assert_eq!(ours.terminal_risk[slot], risk[row], "{place}");
                }
            }
        }
        rows += batch.num_rows();
    }
    assert!(rows > 1_000_000, "{rows}");
    assert!(ties.iter().all(|[ours, theirs]| ours == theirs), "{ties:?}");
}
