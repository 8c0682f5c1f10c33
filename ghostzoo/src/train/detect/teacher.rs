//! The network whose answers a detector learns.

use candle_yolov8::Yolo;
use candle_yolov8::train::Trainer;

use super::task::DetectionTask;
use crate::error::{Context as _, Result, request};
use crate::{LoadOptions, Model, Network};

impl DetectionTask {
    /// Learns from a teacher that was loaded already. A second run of the task, and one that goes on, loads it again, by the name
    /// that the options or else the model has.
    #[must_use]
    pub fn learn_from(mut self, teacher: Model) -> Self {
        self.options.teacher.get_or_insert_with(|| teacher.name.clone());
        Self { teacher: Some(teacher), ..self }
    }

    /// Has the trainer learn from the teacher, where there is one: of the data's classes and the network's strides.
    pub(super) fn teach(&mut self, trainer: &mut Trainer) -> Result<()> {
        let (given, weight) = (self.teacher.take(), self.options.distill);
        let Some(name) = self.options.teacher.clone() else { return Ok(()) };
        if !(weight.is_finite() && weight > 0.) {
            return Err(request(format!("`options.distill` is {weight}: give a number above 0")));
        }
        let teacher = match given {
            Some(teacher) => teacher,
            None => LoadOptions::new()
                .device(self.options.device.clone())
                .model(&name)
                .context("the run learns from its `options.teacher` to the end")?,
        };
        let teacher = self.checked(&name, teacher, trainer.net().strides())?;
        Ok(trainer.learn_from(teacher, weight)?)
    }

    /// The teacher's network, which has the data's classes and these strides.
    fn checked(&self, name: &str, Model { network, class_names, .. }: Model, strides: &[f64]) -> Result<Yolo> {
        let Network::Detector(teacher) = network else {
            return Err(request(format!(
                "`options.teacher` {name} is a classifier: a detector learns from a detector"
            )));
        };
        let classes = teacher.num_classes();
        if classes != self.class_names.len() || class_names != self.class_names {
            return Err(request(format!(
                "`options.teacher` {name} knows {classes} classes that are not the {} of the data, in name and order: train it on them first",
                self.class_names.len()
            )));
        }
        if teacher.strides() != strides {
            return Err(request(format!(
                "`options.teacher` {name} has strides of {}, and the model of {}: give one with the same levels",
                listed(teacher.strides()),
                listed(strides)
            )));
        }
        Ok(*teacher)
    }
}

/// Numbers in a row.
fn listed(numbers: &[f64]) -> String {
    numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}
