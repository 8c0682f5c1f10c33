//! Options of a training by name, as JSON has their values.

use ghostzoo::candle_core::Device;
use ghostzoo::candle_vision::image::MAX_PIXELS;
use ghostzoo::train::{FitOptions, Pretrained};
use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{line, refuse};
use crate::model;

/// Options that are still to be taken, by name.
pub(crate) struct Given(Map<String, Value>);

/// What every training has. `None` is what the task has for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunOptions {
    pub(crate) epochs: usize,
    pub(crate) patience: usize,
    /// Hours.
    pub(crate) time: Option<f64>,
    pub(crate) save_period: usize,
    pub(crate) val: bool,
    pub(crate) seed: u64,
    pub(crate) workers: Option<usize>,
    pub(crate) val_split: Option<f64>,
    pub(crate) max_pixels: u64,
    /// Whether to, or a checkpoint.
    pub(crate) pretrained: Value,
    pub(crate) cls_remap: bool,
    pub(crate) accept_changed_data: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            epochs: 100,
            patience: 100,
            time: None,
            save_period: 0,
            val: true,
            seed: 0,
            workers: None,
            val_split: None,
            max_pixels: MAX_PIXELS,
            pretrained: Value::Null,
            cls_remap: true,
            accept_changed_data: false,
        }
    }
}

impl RunOptions {
    /// Where the first weights come from; `standard` where nothing says so.
    ///
    /// # Errors
    /// Neither a truth value nor a name.
    pub(crate) fn pretrained(&self, standard: Pretrained) -> PyResult<Pretrained> {
        match &self.pretrained {
            Value::Null => Ok(standard),
            Value::Bool(true) => Ok(Pretrained::Published),
            Value::Bool(false) => Ok(Pretrained::No),
            Value::String(name) => Ok(Pretrained::From(name.clone())),
            other => Err(refuse(format!("`pretrained` is {other}: give True, False or a checkpoint"))),
        }
    }

    /// How the library runs it.
    pub(crate) fn fit(&self, folder: &std::path::Path) -> FitOptions {
        FitOptions::new(folder)
            .epochs(self.epochs)
            .patience(self.patience)
            .hours(self.time)
            .save_period(self.save_period)
            .validate(self.val)
            .accept_changed_data(self.accept_changed_data)
    }
}

impl Given {
    /// The options of a JSON object.
    ///
    /// # Errors
    /// A text that is none; a number below 0.
    pub(crate) fn new(text: &str) -> PyResult<Self> {
        let given: Map<String, Value> = serde_json::from_str(text).map_err(|error| refuse(line(&error)))?;
        match given.iter().find(|(_, value)| value.as_f64().is_some_and(|number| number < 0.)) {
            Some((name, value)) => Err(refuse(format!("`{name}` is {value}: give a number of at least 0"))),
            None => Ok(Self(given)),
        }
    }

    /// Those of a table.
    pub(crate) fn of(table: Map<String, Value>) -> Self {
        Self(table)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Replaces and adds some.
    pub(crate) fn extend(self, others: Self) -> Self {
        Self(self.0.into_iter().chain(others.0).collect())
    }

    /// Where to compute, which no run keeps in mind: the CPU unless `device` says so.
    ///
    /// # Errors
    /// A device that is none, or is not there.
    pub(crate) fn device(&mut self) -> PyResult<Device> {
        self.text("device").map_or(Ok(Device::Cpu), |name| model::device(&name))
    }

    /// An option that is called `name`, taken.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// The option `from` is called `to` from now on.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.0.remove(from) {
            self.0.insert(to.to_owned(), value);
        }
    }

    /// Takes the options that are fields of `T`; the others are as `T` has them.
    ///
    /// # Errors
    /// A value that a field cannot have.
    pub(crate) fn part<T: Default + Serialize + DeserializeOwned>(&mut self) -> PyResult<T> {
        let table = serde_json::to_value(T::default()).map_err(|error| refuse(line(&error)))?;
        let Value::Object(mut fields) = table else { return Err(refuse("options are a table of values")) };
        let mut part = T::default();
        for name in fields.keys().cloned().collect::<Vec<_>>() {
            let Some(value) = self.0.remove(&name) else { continue };
            let given = value.to_string();
            fields.insert(name.clone(), value);
            part = serde_json::from_value(Value::Object(fields.clone()))
                .map_err(|error| refuse(format!("`{name}` is {given}: {}", line(&error))))?;
        }
        Ok(part)
    }

    /// Takes a text, or what a number or a list reads as.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.0.remove(name)?;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        match &value {
            Value::Null => None,
            Value::Array(values) => Some(values.iter().map(text).collect::<Vec<_>>().join(",")),
            value => Some(text(value)),
        }
    }

    /// Refuses options that nothing took.
    ///
    /// # Errors
    /// The first of them.
    pub(crate) fn end(&self) -> PyResult<()> {
        match self.0.keys().next() {
            Some(name) => Err(refuse(format!("a training has no option `{name}`"))),
            None => Ok(()),
        }
    }
}
