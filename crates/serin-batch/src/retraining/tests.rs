//! Retrainings against a registry in memory: what is trained, judged, entered into the history.

use super::*;
use crate::models::ModelRegistry;
use crate::training::{TrainingRun, TrainingStep};
use serin_decisions::{DecisionIds, DecisionLog, LogLimits, NewDecision};
use serin_scoring::{Column, ColumnKind, Signature};
use serin_tracking::{Label, LabelSource, LabelSubject, Metric, Registration, ResolvedModel, RunStatus, StoredModel};
use serin_training::Parameters;
use std::collections::BTreeMap;
use std::sync::Mutex;

const DAY_MS: i64 = 86_400_000;
const NOW: i64 = 1_764_000_000_000;

fn clock() -> i64 {
    NOW
}

/// Registry and ledger of one test.
struct Office {
    folder: tempfile::TempDir,
    /// Names of runs with the statuses that they ended with.
    runs: Mutex<Vec<(TrainingRun, Option<RunStatus>)>>,
    /// What was asked of the registry and the ledger, in words.
    entries: Mutex<Vec<String>>,
    labels: Vec<Label>,
    registers: bool,
}

impl Office {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            runs: Mutex::default(),
            entries: Mutex::default(),
            labels: Vec::new(),
            registers: true,
        }
    }

    fn enter(&self, entry: String) {
        self.entries.lock().unwrap().push(entry);
    }

    fn versions(&self) -> i64 {
        (1..).take_while(|version: &i64| self.folder.path().join(version.to_string()).is_dir()).last().unwrap_or(0)
    }
}

impl ModelRegistry for Office {
    async fn resolve(&self, uri: &ModelUri) -> Result<ResolvedModel, RegistryFailure> {
        let version = match uri {
            ModelUri::Alias(..) => 1,
            ModelUri::Version(_, version) => *version,
            other => return Err(format!("{other} is not here").into()),
        };
        let path = self.folder.path().join(version.to_string());
        if !path.is_dir() {
            return Err(format!("there is no version {version}").into());
        }
        Ok(ResolvedModel { name: Some("fraud ü".into()), version: Some(version), path })
    }
}

impl TrainingRegistry for Office {
    fn check_names(&self, _: &str, alias: Option<&str>) -> Result<(), RegistryFailure> {
        if alias.is_some_and(|alias| alias.contains(' ')) { Err("no such alias".into()) } else { Ok(()) }
    }

    async fn start_run(&self, run: TrainingRun) -> Result<String, RegistryFailure> {
        let mut runs = self.runs.lock().unwrap();
        runs.push((run, None));
        Ok((runs.len() - 1).to_string())
    }

    async fn log(&self, _: &str, metrics: Vec<Metric>, params: Vec<Tag>) -> Result<(), RegistryFailure> {
        assert!(metrics.iter().any(|metric| metric.key == "average_precision"));
        assert!(params.iter().any(|param| param.key == "rounds"));
        Ok(())
    }

    async fn put_model(
        &self,
        run_id: &str,
        files: Vec<(String, Vec<u8>)>,
        _: i64,
    ) -> Result<StoredModel, RegistryFailure> {
        let path = self.folder.path().join(format!("run-{run_id}"));
        for (name, bytes) in files {
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
        let location = path.display().to_string();
        Ok(StoredModel { source: location.clone(), model_id: String::new(), location })
    }

    async fn register(&self, _: &Registration, stored: &StoredModel, _: Change) -> Result<i64, RegistryFailure> {
        if !self.registers {
            return Err("the registry is away".into());
        }
        let version = self.versions() + 1;
        std::fs::rename(&stored.location, self.folder.path().join(version.to_string())).unwrap();
        Ok(version)
    }

    async fn finish_run(&self, run_id: &str, status: RunStatus, _: i64) -> Result<(), RegistryFailure> {
        self.runs.lock().unwrap()[run_id.parse::<usize>().unwrap()].1 = Some(status);
        Ok(())
    }
}

impl RetrainingLedger for Office {
    async fn labels_known(&self, from_ms: i64, as_of_ms: i64) -> Result<Labels, RegistryFailure> {
        let known = |label: &&Label| (from_ms..=as_of_ms).contains(&label.known_at_ms);
        Ok(Labels::of(self.labels.iter().filter(known).cloned()))
    }

    async fn begin_retraining(&self, model: &str, cause: &str, _: &str, _: i64) -> Result<String, RegistryFailure> {
        self.enter(format!("begin {model} {cause}"));
        Ok("id".into())
    }

    async fn end_retraining(
        &self,
        id: &str,
        outcome: &str,
        version: Option<i64>,
        verdict: &str,
        _: i64,
    ) -> Result<(), RegistryFailure> {
        self.enter(format!("end {id} {outcome} {version:?}: {verdict}"));
        Ok(())
    }

    async fn tag_version(&self, _: &str, version: i64, tag: Tag) -> Result<(), RegistryFailure> {
        self.enter(format!("tag {version} {}={}", tag.key, tag.value));
        Ok(())
    }

    async fn point(&self, alias: &ModelUri, version: i64, _: Change) -> Result<(), RegistryFailure> {
        self.enter(format!("point {alias} {version}"));
        Ok(())
    }
}

fn plan(set: &[(&str, &str)]) -> RetrainingPlan {
    let training = TrainingPlan {
        model: "fraud ü".into(),
        experiment: "e".into(),
        user: "ana".into(),
        tags: vec![Tag::new("own", "1")],
        source: "the test".into(),
        parameters: Parameters {
            set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            rounds: 20,
            early_stopping: None,
        },
        rule: Rule::Fixed(0.5),
        reference_rows: 100,
        descriptions: BTreeMap::new(),
        register: true,
        alias: None,
        stage: None,
    };
    RetrainingPlan {
        model: "fraud ü".into(),
        champion: ModelUri::Alias("fraud ü".into(), "champion".into()),
        challenger: "challenger".into(),
        cause: "drift".into(),
        reason: "amounts drift".into(),
        as_of_ms: NOW,
        maturity: Maturity::default(),
        amount: Some("amount".into()),
        review_cost: 1.0,
        gate_days: 7,
        train_days: 60,
        test_days: 7,
        min_frauds: 20,
        min_coverage: 0.5,
        training,
        champions_rule: true,
    }
}

/// One payment of [`payments`].
struct Payment {
    at_ms: i64,
    features: [f32; 3],
    fraud: bool,
}

/// Eighty days before [`NOW`] of two hundred payments each. Frauds are great amounts by wire at first; from `turn_ms` on they are
/// small amounts by card.
fn payments(turn_ms: i64) -> Vec<Payment> {
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let count = 80 * 200;
    let payment = |i: i64| {
        let at_ms = NOW - 80 * DAY_MS + i * 80 * DAY_MS / count;
        let (amount, wire, hour) = ((next() * 1000.0) as f32, next() < 0.4, (next() * 24.0) as f32);
        let sign = if at_ms < turn_ms { amount > 850.0 && wire } else { amount < 60.0 && !wire };
        Payment { at_ms, features: [amount, f32::from(u8::from(wire)), hour], fraud: sign && next() < 0.9 }
    };
    (0..count).map(payment).collect()
}

fn signature() -> Signature {
    let column = |name: &str, kind| Column { name: name.to_owned(), kind, nullable: false };
    let levels = vec!["card".to_owned(), "wire".to_owned()];
    Signature {
        columns: vec![
            column("amount", ColumnKind::Number),
            column("channel", ColumnKind::Category { levels }),
            column("hour", ColumnKind::Number),
        ],
    }
}

/// Trains version 1 on payments before a time, with the rule of two alerts in a hundred.
async fn champion(office: &Office, payments: &[Payment], until_ms: i64) {
    let known: Vec<&Payment> = payments.iter().filter(|payment| payment.at_ms < until_ms).collect();
    let rows = serin_dataset::Dataset {
        signature: signature(),
        features: known.iter().flat_map(|payment| payment.features).collect(),
        labels: known.iter().map(|payment| f32::from(u8::from(payment.fraud))).collect(),
        times: known.iter().map(|payment| payment.at_ms).collect(),
        entities: Vec::new(),
        amounts: Vec::new(),
        weights: Vec::new(),
    };
    let plan = TrainingPlan { rule: Rule::AlertRate(0.08), ..plan(&[]).training };
    let parts = TrainingRows::split(&rows, &SplitRule::Random(0.3)).unwrap();
    let mut rounds = 0;
    let mut observe = |step: TrainingStep<'_>| rounds += usize::from(matches!(step, TrainingStep::Round(..)));
    assert_eq!(train(office, &plan, &parts, clock, &mut observe).await.unwrap().version, Some(1));
    assert_eq!(rounds, 20);
}

/// A log in which version 1 decided every payment, and its labels, a day later.
async fn logged(office: &mut Office, payments: &[Payment]) -> PathBuf {
    let model = office.resolve(&ModelUri::Version("fraud ü".into(), 1)).await.unwrap();
    let deciding = LoadedModel::load(&model, NOW).unwrap().deciding;
    let (folder, ids) = (office.folder.path().join("log"), DecisionIds::default());
    let (log, _) = DecisionLog::open(&folder, LogLimits::default(), clock).unwrap();
    for (i, payment) in payments.iter().enumerate() {
        let transaction_id = format!("t{i}");
        let decision = NewDecision {
            id: ids.next(NOW),
            transaction_id: &transaction_id,
            entity: "card",
            event_time_ms: Some(payment.at_ms),
            features: &payment.features,
            score: 0.1,
            alert: false,
            propensity: None,
            fallback: None,
            assigned: None,
            latency_ns: 0,
        };
        log.append(&deciding, &[decision]).unwrap();
        office.labels.push(Label {
            subject: LabelSubject::Transaction(transaction_id),
            fraud: payment.fraud,
            source: LabelSource::Chargeback,
            occurred_at_ms: Some(payment.at_ms),
            known_at_ms: payment.at_ms + DAY_MS,
            received_at_ms: NOW,
            amount: None,
        });
    }
    log.flush().unwrap();
    folder
}

#[tokio::test]
async fn a_fraud_that_the_champion_does_not_know_is_learnt_from_the_log() {
    let mut office = Office::new();
    let turn_ms = NOW - 60 * DAY_MS;
    let payments = payments(turn_ms);
    champion(&office, &payments, turn_ms).await;
    let folder = logged(&mut office, &payments).await;
    assert_eq!(newest_transaction(&folder, "fraud ü").unwrap(), payments.last().unwrap().at_ms);
    assert_eq!(newest_transaction(&folder, "other").unwrap(), 0);
    let plan = plan(&[]);
    let source = RowSource::Log(folder);
    let retrained = retrain(&office, &office, &plan, &source, clock, &mut |_| {}).await.unwrap();
    assert!(retrained.accepted, "{}", retrained.verdict);
    let found = retrained.comparison.as_ref().unwrap();
    assert_eq!((retrained.version, found.rows), (Some(2), 7 * 200), "the week before labels are complete");
    assert!(found.recall.values[0] < 0.2 && found.recall.values[1] > 0.8, "{:?}", found.recall.values);
    let entries = office.entries.lock().unwrap();
    assert_eq!(entries[0], "begin fraud ü drift");
    assert!(entries[1].starts_with("tag 2 serin.gate=accepted: "), "{entries:?}");
    assert_eq!(entries[2], "point models:/fraud ü@challenger 2");
    assert!(entries[3].starts_with("end id accepted Some(2): "), "{entries:?}");
    let runs = office.runs.lock().unwrap();
    let (run, status) = runs.last().unwrap();
    assert_eq!(*status, Some(RunStatus::Finished));
    let tags: Vec<String> = run.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
    assert_eq!(tags, ["own=1", "serin.cause=drift", "serin.reason=amounts drift"]);
    // The threshold is drawn by the champion's rule, and the columns stay those of the champion.
    let manifest = std::fs::read(office.folder.path().join("2/serin.json")).unwrap();
    let manifest = Manifest::from_bytes(&manifest).unwrap();
    assert_eq!((manifest.threshold_rule.as_str(), manifest.signature), ("alert rate 0.08", signature()));
}

#[tokio::test]
async fn what_is_no_better_is_discarded_and_too_little_trains_nothing() {
    let mut office = Office::new();
    let payments = payments(i64::MAX);
    champion(&office, &payments, NOW - 20 * DAY_MS).await;
    let source = RowSource::Log(logged(&mut office, &payments).await);
    let same = retrain(&office, &office, &plan(&[]), &source, clock, &mut |_| {}).await.unwrap();
    assert!(!same.accepted && same.version == Some(2), "{}", same.verdict);
    let few = RetrainingPlan { min_frauds: 10_000, ..plan(&[]) };
    let none = retrain(&office, &office, &few, &source, clock, &mut |_| {}).await.unwrap();
    assert!(none.version.is_none() && none.verdict.contains("10000 are needed"), "{}", none.verdict);
    let young = RetrainingPlan { maturity: Maturity { delay_ms: 100 * DAY_MS, ..Maturity::default() }, ..plan(&[]) };
    let none = retrain(&office, &office, &young, &source, clock, &mut |_| {}).await.unwrap();
    assert_eq!(none.verdict, "no transaction is 100 days old, when labels are complete");
    // Labels of a third alone: those that are labelled may not be like the others.
    office.labels.truncate(payments.len() / 3);
    let none = retrain(&office, &office, &plan(&[]), &source, clock, &mut |_| {}).await.unwrap();
    assert!(none.version.is_none() && none.verdict.contains("are labelled, 50 % are needed"), "{}", none.verdict);
    assert_eq!(office.versions(), 2);
    let entries = office.entries.lock().unwrap();
    assert!(!entries.iter().any(|entry| entry.starts_with("point")), "{entries:?}");
    assert_eq!(entries.iter().filter(|entry| entry.starts_with("end id discarded")).count(), 4, "{entries:?}");
}

#[tokio::test]
async fn a_retraining_that_fails_is_in_the_history_with_its_reason() {
    let mut office = Office::new();
    let payments = payments(i64::MAX);
    let nobody = RowSource::Log(office.folder.path().join("no-log"));
    let fails = async |office: &Office, plan: &RetrainingPlan, source: &RowSource, reason: &str| {
        let error = retrain(office, office, plan, source, clock, &mut |_| {}).await.unwrap_err();
        let entry = office.entries.lock().unwrap().pop().unwrap();
        assert!(entry.starts_with("end id failed None: ") && entry.contains(reason), "{entry}");
        with_causes(&error)
    };
    fails(&office, &plan(&[]), &nobody, "the champion models:/fraud ü@champion: there is no version 1").await;
    champion(&office, &payments, NOW - 20 * DAY_MS).await;
    let error = fails(&office, &plan(&[]), &nobody, "there is no decision log at").await;
    assert!(error.contains("--decision-log"), "{error}");
    let source = RowSource::Log(logged(&mut office, &payments).await);
    fails(&office, &plan(&[("max_dept", "3")]), &source, "does not know the parameter max_dept").await;
    let elsewhere = RetrainingPlan { amount: Some("money".into()), ..plan(&[]) };
    fails(&office, &elsewhere, &source, "--amount money").await;
    let named = RetrainingPlan { challenger: "a b".into(), ..plan(&[]) };
    fails(&office, &named, &source, "no such alias").await;
    let unsaid = RetrainingPlan { min_coverage: f64::NAN, ..plan(&[]) };
    fails(&office, &unsaid, &source, "--min-coverage NaN").await;
    let distant = RetrainingPlan { as_of_ms: i64::MAX, ..plan(&[]) };
    let none = retrain(&office, &office, &distant, &source, clock, &mut |_| {}).await.unwrap();
    assert!(none.version.is_none(), "nothing is so late: {}", none.verdict);
    // No label and no column says what was at stake: a missed fraud would cost nothing.
    let mut free = RetrainingPlan { amount: None, champions_rule: false, ..plan(&[]) };
    free.training.rule = Rule::Cost(2.0);
    fails(&office, &free, &source, "--amount").await;
    assert_eq!(office.runs.lock().unwrap().len(), 2, "nothing was begun for them");
    office.registers = false;
    fails(&office, &plan(&[]), &source, "the registry is away").await;
    let runs = office.runs.lock().unwrap();
    let statuses: Vec<Option<RunStatus>> = runs.iter().skip(1).map(|(_, status)| *status).collect();
    assert_eq!(statuses, [Some(RunStatus::Failed), Some(RunStatus::Failed)], "no run is left at work");
}
