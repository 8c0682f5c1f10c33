//! What is to be said to whoever trains.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use candle_vision::train::TrainState;

/// Most messages of one kind at a time.
const MOST: usize = 20;

/// A line for whoever trains.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// How the training goes.
    Note(String),
    /// What may be wrong.
    Warning(String),
}

impl Message {
    /// The line.
    pub fn text(&self) -> &str {
        let (Self::Note(text) | Self::Warning(text)) = self;
        text
    }
}

/// Messages that wait to be taken.
#[derive(Debug, Default)]
pub struct Messages(Mutex<Vec<Message>>);

impl Messages {
    /// Adds how the training goes.
    pub fn note(&self, text: impl Into<String>) {
        self.push(Message::Note(text.into()));
    }

    /// Adds what may be wrong.
    pub fn warn(&self, text: impl Into<String>) {
        self.push(Message::Warning(text.into()));
    }

    /// Adds what may be wrong with many images: the first twenty, and how many more.
    pub fn warn_each<T: Display>(&self, texts: &[T]) {
        self.each(texts, Message::Warning);
    }

    /// Adds what holds of many images: the first twenty, and how many more.
    pub fn note_each<T: Display>(&self, texts: &[T]) {
        self.each(texts, Message::Note);
    }

    fn each<T: Display>(&self, texts: &[T], message: fn(String) -> Message) {
        texts.iter().take(MOST).for_each(|text| self.push(message(text.to_string())));
        if texts.len() > MOST {
            self.push(message(format!("and {} more", texts.len() - MOST)));
        }
    }

    /// Adds a message.
    pub fn push(&self, message: Message) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// What was added since the last call.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a run starts: the network, what of it is trained, and by which optimizer.
pub(super) fn opening(arch: &str, state: &TrainState, optimizer: impl Display, rate: f64, momentum: f64) -> String {
    let trained: usize = state.variables().parameters().iter().map(|(_, var)| var.elem_count()).sum();
    format!("{arch}, {trained} parameters in training; {optimizer} at {rate} with momentum {momentum}")
}
