//! YOLOv8.
