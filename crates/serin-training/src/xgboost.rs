//! A thin safe wrapper over the parts of XGBoost's C API that training and the parity tests use.
//!
//! C API: <https://xgboost.readthedocs.io/en/stable/c.html>. The only unsafe code of this crate.
#![expect(unsafe_code, reason = "XGBoost is reached through its C API")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use xgboost_lib_sys as sys;

/// A failed XGBoost call.
#[derive(Debug, thiserror::Error)]
#[error("XGBoost: {0}")]
pub struct XgboostError(pub String);

type Result<T> = std::result::Result<T, XgboostError>;

thread_local! {
    /// Warnings of this thread since the last [`take_warnings`].
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Whether XGBoost knows where this thread's warnings go: it keeps a callback for each thread.
    static LOG_REGISTERED: Cell<bool> = const { Cell::new(false) };
}

unsafe extern "C" fn keep_warning(message: *const c_char) {
    // SAFETY: XGBoost passes a NUL-terminated text that lives for the call.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // A thread that ends has no place for it any more.
    let _ = WARNINGS.try_with(|warnings| warnings.borrow_mut().push(message));
}

fn register_log() {
    if !LOG_REGISTERED.replace(true) {
        // SAFETY: the callback is a plain function that never unwinds into C.
        unsafe { sys::XGBRegisterLogCallback(Some(keep_warning)) };
    }
}

/// Takes the warnings that XGBoost logged on this thread since the last call.
#[must_use]
pub fn take_warnings() -> Vec<String> {
    WARNINGS.take()
}

fn check(code: i32) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the text belongs to this thread until the next call.
    let message = unsafe { CStr::from_ptr(sys::XGBGetLastError()) }.to_string_lossy();
    // XGBoost appends a C++ stack trace; a person needs the sentence before it.
    let sentence = message.split("Stack trace").next().unwrap_or(&message);
    let sentence = sentence.rsplit_once("] ").map_or(sentence, |(_, rest)| rest);
    Err(XgboostError(sentence.trim().to_owned()))
}

fn text(value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| XgboostError(format!("{value:?} contains a NUL byte")))
}

/// XGBoost's version, such as `3.4.1`.
#[must_use]
pub fn version() -> String {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: three valid pointers to int.
    unsafe { sys::XGBoostVersion(&raw mut major, &raw mut minor, &raw mut patch) };
    format!("{major}.{minor}.{patch}")
}

/// Rows in XGBoost's own memory.
#[derive(Debug)]
pub struct DMatrix {
    handle: sys::DMatrixHandle,
    rows: usize,
}

// SAFETY: a DMatrix is not tied to the thread that made it.
unsafe impl Send for DMatrix {}

impl DMatrix {
    /// Copies `values` (row-major, `columns` a row, NaN is missing).
    ///
    /// # Errors
    /// XGBoost's own, such as an infinity in the data.
    ///
    /// # Panics
    /// When `values` is not a whole number of rows.
    pub fn from_dense(values: &[f32], columns: usize) -> Result<Self> {
        register_log();
        assert!(columns > 0 && values.len().is_multiple_of(columns), "not a whole number of rows");
        let rows = values.len() / columns;
        let array = text(&array_interface(values, columns))?;
        let config = text(r#"{"missing": NaN, "nthread": 0}"#)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the array interface describes `values`, which outlives the call; XGBoost copies.
        check(unsafe { sys::XGDMatrixCreateFromDense(array.as_ptr(), config.as_ptr(), &raw mut handle) })?;
        Ok(Self { handle, rows })
    }

    /// Sets `label`, `weight` or `base_margin`, one value a row.
    ///
    /// # Errors
    /// When the number of values is not the number of rows.
    pub fn set_info(&mut self, field: &str, values: &[f32]) -> Result<()> {
        if values.len() != self.rows {
            return Err(XgboostError(format!("{} values of {field} for {} rows", values.len(), self.rows)));
        }
        let field = text(field)?;
        let array = text(&array_interface(values, 1))?;
        // SAFETY: as in `from_dense`.
        check(unsafe { sys::XGDMatrixSetInfoFromInterface(self.handle, field.as_ptr(), array.as_ptr()) })
    }

    /// Sets `feature_name` or `feature_type`, one a column.
    ///
    /// # Errors
    /// XGBoost's own, such as a name with a forbidden character.
    pub fn set_features(&mut self, field: &str, values: &[&str]) -> Result<()> {
        let field = text(field)?;
        let owned: Vec<CString> = values.iter().map(|value| text(value)).collect::<Result<_>>()?;
        let mut pointers: Vec<*const c_char> = owned.iter().map(|value| value.as_ptr()).collect();
        // SAFETY: `pointers` has as many valid texts as its length says.
        check(unsafe {
            sys::XGDMatrixSetStrFeatureInfo(self.handle, field.as_ptr(), pointers.as_mut_ptr(), pointers.len() as u64)
        })
    }
}

impl Drop for DMatrix {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is not used again.
        unsafe { sys::XGDMatrixFree(self.handle) };
    }
}

fn array_interface(values: &[f32], columns: usize) -> String {
    let rows = values.len() / columns;
    let shape = if columns == 1 { format!("[{rows}]") } else { format!("[{rows}, {columns}]") };
    format!(r#"{{"data": [{}, true], "shape": {shape}, "typestr": "<f4", "version": 3}}"#, values.as_ptr() as usize)
}

/// A booster: trees plus the parameters that grow more of them.
#[derive(Debug)]
pub struct Booster {
    handle: sys::BoosterHandle,
}

// SAFETY: a booster is not tied to a thread; `&mut` guards what changes it.
unsafe impl Send for Booster {}

impl Booster {
    /// An empty booster for training on (and evaluating with) `matrices`.
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn new(parameters: &[(String, String)], matrices: &[&DMatrix]) -> Result<Self> {
        register_log();
        let handles: Vec<sys::DMatrixHandle> = matrices.iter().map(|matrix| matrix.handle).collect();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the handles are valid and as many as said.
        check(unsafe { sys::XGBoosterCreate(handles.as_ptr(), handles.len() as u64, &raw mut handle) })?;
        let mut booster = Self { handle };
        for (name, value) in parameters {
            booster.set_parameter(name, value)?;
        }
        Ok(booster)
    }

    /// Sets a parameter of what the booster does next, such as `nthread`. XGBoost configures itself anew after it.
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn set_parameter(&mut self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (text(name)?, text(value)?);
        // SAFETY: two NUL-terminated texts.
        check(unsafe { sys::XGBoosterSetParam(self.handle, name.as_ptr(), value.as_ptr()) })
    }

    /// Reads a model from UBJSON or JSON bytes.
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn from_bytes(model: &[u8]) -> Result<Self> {
        let booster = Self::new(&[], &[])?;
        // SAFETY: the buffer is valid for the call; XGBoost copies.
        check(unsafe { sys::XGBoosterLoadModelFromBuffer(booster.handle, model.as_ptr().cast(), model.len() as u64) })?;
        Ok(booster)
    }

    /// Grows one round of trees.
    ///
    /// # Errors
    /// XGBoost's own: wrong parameter values surface here.
    pub fn update(&mut self, round: usize, train: &DMatrix) -> Result<()> {
        // SAFETY: both handles are valid.
        check(unsafe { sys::XGBoosterUpdateOneIter(self.handle, round as i32, train.handle) })
    }

    /// Evaluates every metric on every named set: `[("valid", "aucpr", 0.7), …]`, sets in order.
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn evaluate(&mut self, round: usize, sets: &[(&DMatrix, &str)]) -> Result<Vec<(String, String, f64)>> {
        let mut handles: Vec<sys::DMatrixHandle> = sets.iter().map(|(matrix, _)| matrix.handle).collect();
        let names: Vec<CString> = sets.iter().map(|(_, name)| text(name)).collect::<Result<_>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let mut line = std::ptr::null();
        // SAFETY: as many handles and names as said; the answer lives until the next call on this booster.
        let line = unsafe {
            check(sys::XGBoosterEvalOneIter(
                self.handle,
                round as i32,
                handles.as_mut_ptr(),
                pointers.as_mut_ptr(),
                handles.len() as u64,
                &raw mut line,
            ))?;
            CStr::from_ptr(line).to_string_lossy().into_owned()
        };
        // "[3]\ttrain-logloss:0.1\tvalid-aucpr:0.7"
        let mut values = Vec::new();
        for part in line.split('\t').skip(1) {
            let parsed = part.rsplit_once(':').and_then(|(name, value)| Some((name.split_once('-')?, value)));
            let Some(((set, metric), value)) = parsed else {
                return Err(XgboostError(format!("cannot read the evaluation {part:?}")));
            };
            values.push((set.to_owned(), metric.to_owned(), value.parse().unwrap_or(f64::NAN)));
        }
        Ok(values)
    }

    /// The first `rounds` rounds as a booster of their own.
    ///
    /// # Errors
    /// When there are fewer rounds.
    pub fn first_rounds(&self, rounds: usize) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a valid handle and a valid place for the new one.
        check(unsafe { sys::XGBoosterSlice(self.handle, 0, rounds as i32, 1, &raw mut handle) })?;
        Ok(Self { handle })
    }

    /// Sets an attribute that is saved with the model, such as `best_iteration`.
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn set_attribute(&mut self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (text(name)?, text(value)?);
        // SAFETY: two NUL-terminated texts.
        check(unsafe { sys::XGBoosterSetAttr(self.handle, name.as_ptr(), value.as_ptr()) })
    }

    /// Sets the feature names or types that are saved with the model.
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn set_features(&mut self, field: &str, values: &[&str]) -> Result<()> {
        let field = text(field)?;
        let owned: Vec<CString> = values.iter().map(|value| text(value)).collect::<Result<_>>()?;
        let mut pointers: Vec<*const c_char> = owned.iter().map(|value| value.as_ptr()).collect();
        // SAFETY: as many texts as said.
        check(unsafe {
            sys::XGBoosterSetStrFeatureInfo(self.handle, field.as_ptr(), pointers.as_mut_ptr(), pointers.len() as u64)
        })
    }

    /// The model as `ubj` or `json` bytes.
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn save(&self, format: &str) -> Result<Vec<u8>> {
        let config = text(&format!(r#"{{"format": "{format}"}}"#))?;
        let (mut length, mut bytes) = (0u64, std::ptr::null());
        // SAFETY: the buffer belongs to the booster until its next call; it is copied here.
        unsafe {
            check(sys::XGBoosterSaveModelToBuffer(self.handle, config.as_ptr(), &raw mut length, &raw mut bytes))?;
            Ok(std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize).to_vec())
        }
    }

    /// Predictions, one for each of `values`' row-major dense rows, by XGBoost's own predictor without a DMatrix (`inplace_predict`).
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn predict_dense(&self, values: &[f32], columns: usize, margin: bool) -> Result<Vec<f32>> {
        let array = text(&array_interface_2d(values, columns))?;
        let config = text(&format!(
            r#"{{"type": {}, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false, "missing": NaN, "cache_id": 0}}"#,
            u8::from(margin)
        ))?;
        let (mut shape, mut dimensions, mut out) = (std::ptr::null(), 0u64, std::ptr::null());
        // SAFETY: the array interface describes `values`; shape and result belong to the booster until its
        // next call and are copied here.
        unsafe {
            check(sys::XGBoosterPredictFromDense(
                self.handle,
                array.as_ptr(),
                config.as_ptr(),
                std::ptr::null_mut(),
                &raw mut shape,
                &raw mut dimensions,
                &raw mut out,
            ))?;
            Ok(copied(shape, dimensions, out))
        }
    }

    /// Contributions of each feature and the bias to the margin of each row (`pred_contribs`).
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn predict_contributions(&self, rows: &DMatrix) -> Result<Vec<f32>> {
        let config =
            text(r#"{"type": 2, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false}"#)?;
        let (mut shape, mut dimensions, mut out) = (std::ptr::null(), 0u64, std::ptr::null());
        // SAFETY: shape and result belong to the booster until its next call and are copied here.
        unsafe {
            check(sys::XGBoosterPredictFromDMatrix(
                self.handle,
                rows.handle,
                config.as_ptr(),
                &raw mut shape,
                &raw mut dimensions,
                &raw mut out,
            ))?;
            Ok(copied(shape, dimensions, out))
        }
    }

    /// Total gain that each feature brought, by feature name (absent: never used).
    ///
    /// # Errors
    /// XGBoost's own.
    pub fn total_gain(&self) -> Result<Vec<(String, f64)>> {
        let config = text(r#"{"importance_type": "total_gain"}"#)?;
        let (mut count, mut names, mut dimensions) = (0u64, std::ptr::null_mut(), 0u64);
        let (mut shape, mut scores) = (std::ptr::null(), std::ptr::null());
        // SAFETY: names and scores belong to the booster until its next call and are copied here.
        unsafe {
            check(sys::XGBoosterFeatureScore(
                self.handle,
                config.as_ptr(),
                &raw mut count,
                &raw mut names,
                &raw mut dimensions,
                &raw mut shape,
                &raw mut scores,
            ))?;
            Ok((0..count as usize)
                .map(|i| {
                    let name: *const c_char = *names.add(i);
                    (CStr::from_ptr(name).to_string_lossy().into_owned(), f64::from(*scores.add(i)))
                })
                .collect())
        }
    }
}

/// A prediction of any shape.
///
/// # Safety
/// `shape` has `dimensions` entries, and `out` as many values as their product; both are null where there is no row.
unsafe fn copied(shape: *const u64, dimensions: u64, out: *const f32) -> Vec<f32> {
    // SAFETY: what the caller promises.
    unsafe {
        if shape.is_null() || out.is_null() {
            return Vec::new();
        }
        let length: u64 = std::slice::from_raw_parts(shape, dimensions as usize).iter().product();
        std::slice::from_raw_parts(out, length as usize).to_vec()
    }
}

fn array_interface_2d(values: &[f32], columns: usize) -> String {
    let rows = values.len() / columns;
    format!(
        r#"{{"data": [{}, true], "shape": [{rows}, {columns}], "typestr": "<f4", "version": 3}}"#,
        values.as_ptr() as usize
    )
}

impl Drop for Booster {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is not used again.
        unsafe { sys::XGBoosterFree(self.handle) };
    }
}
