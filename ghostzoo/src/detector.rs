//! Objects in images.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use candle_vision::image::{self, RgbImage};
use candle_yolov8::{Detection, PredictOptions, TileError, TileOptions};

use crate::error::{Result, request};
use crate::model::{Model, Network};
use crate::options::LoadOptions;

/// A detector ready to run. Make one and use it for every image, from as many threads as you like.
///
/// ```
/// use ghostzoo::{Detector, RgbImage};
///
/// let detector = Detector::load("yolov8n-ghostnet-bccd")?.conf(0.5);
/// let image = RgbImage::new(640, 480);
/// for found in detector.predict(&image)? {
///     println!("{} {:.2} at {:?}", detector.class_name(found.class_id), found.confidence, found.xyxy);
/// }
/// # Ok::<(), ghostzoo::Error>(())
/// ```
pub struct Detector {
    name: String,
    class_names: Vec<String>,
    licence: Option<String>,
    single_cls: bool,
    detector: candle_yolov8::Detector,
    options: PredictOptions,
}

impl fmt::Debug for Detector {
    /// Name, classes and licence, without the tensors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, class_names, licence, .. } = self;
        let classes = class_names.len();
        f.debug_struct("Detector")
            .field("name", name)
            .field("classes", &classes)
            .field("licence", licence)
            .finish_non_exhaustive()
    }
}

impl Detector {
    /// Loads a detector on the CPU, in f32: by a name of the registry (`yolov8n-ghostnet-bccd` is built in), a file
    /// (safetensors, or PyTorch's `.pt`), or `hf://organisation/repository[@revision]/file`.
    ///
    /// # Errors
    /// Where there is no such model, it cannot be downloaded or read, its tensors do not fit its architecture, or it is a
    /// classifier.
    pub fn load(model: impl AsRef<OsStr>) -> Result<Self> {
        LoadOptions::new().detector(model)
    }

    /// Takes a loaded model.
    ///
    /// # Errors
    /// Where it is a classifier.
    pub fn of(model: Model) -> Result<Self> {
        let Network::Detector(network) = model.network else {
            return Err(request(format!("{} is a classifier; use `Classifier`", model.name)));
        };
        Ok(Self {
            name: model.name,
            class_names: model.class_names,
            licence: model.licence,
            single_cls: model.single_cls,
            detector: candle_yolov8::Detector::new(*network, model.device, model.dtype, model.input_size),
            options: PredictOptions::default(),
        })
    }

    /// Least confidence of a detection; 0.25 unless told otherwise, as Ultralytics has it.
    #[must_use]
    pub fn conf(mut self, conf: f32) -> Self {
        self.options.nms.conf = conf;
        self
    }

    /// Intersection over union above which the less confident of two boxes goes; 0.7 unless told otherwise.
    #[must_use]
    pub fn iou(mut self, iou: f32) -> Self {
        self.options.nms.iou = iou;
        self
    }

    /// Most detections of an image; 300 unless told otherwise.
    #[must_use]
    pub fn max_det(mut self, max_det: usize) -> Self {
        self.options.nms.max_det = max_det;
        self
    }

    /// The classes that are looked for, by their numbers; all unless told otherwise.
    #[must_use]
    pub fn classes(mut self, classes: impl Into<Vec<usize>>) -> Self {
        self.options.nms.classes = Some(classes.into());
        self
    }

    /// `[height, width]` that images are scaled to fit, in pixels; the checkpoint's unless told otherwise.
    #[must_use]
    pub fn imgsz(mut self, imgsz: [usize; 2]) -> Self {
        self.options.imgsz = Some(imgsz);
        self
    }

    /// All options at once.
    #[must_use]
    pub fn options(self, options: PredictOptions) -> Self {
        Self { options, ..self }
    }

    /// The options so far.
    pub fn predict_options(&self) -> &PredictOptions {
        &self.options
    }

    /// The objects in an image, the most confident first, in pixels of the image.
    ///
    /// # Errors
    /// Where the device fails, as without memory.
    pub fn predict(&self, image: &RgbImage) -> Result<Vec<Detection>> {
        Ok(self.predict_batch(std::slice::from_ref(image))?.pop().unwrap_or_default())
    }

    /// [`Detector::predict`] for several images, in their order. Images of one shape run as one batch; no result depends
    /// on the other images.
    ///
    /// # Errors
    /// As [`Detector::predict`].
    pub fn predict_batch(&self, images: &[RgbImage]) -> Result<Vec<Vec<Detection>>> {
        let predictions = self.detector.predict(images, &self.options)?;
        Ok(predictions.into_iter().map(|prediction| prediction.detections).collect())
    }

    /// The objects in a large image, looked at tile by tile and as a whole, the most confident first, in pixels of the image: also
    /// those that are too small to be found where the whole image is scaled to the network's size. The detector's options hold
    /// for each tile.
    ///
    /// ```
    /// use ghostzoo::{Detector, RgbImage, TileOptions};
    ///
    /// let detector = Detector::load("yolov8n-ghostnet-bccd")?;
    /// let found = detector.predict_tiled(&RgbImage::new(900, 600), &TileOptions::new().size([480, 480]))?;
    /// # let _ = found;
    /// # Ok::<(), ghostzoo::Error>(())
    /// ```
    ///
    /// # Errors
    /// Tiles without pixels, an overlap or a threshold out of range, too many tiles; as [`Detector::predict`].
    pub fn predict_tiled(&self, image: &RgbImage, tiles: &TileOptions) -> Result<Vec<Detection>> {
        match self.detector.predict_tiled(image, &self.options, tiles) {
            Ok(prediction) => Ok(prediction.detections),
            Err(TileError::Candle(error)) => Err(error.into()),
            Err(error) => Err(request(error)),
        }
    }

    /// [`Detector::predict`] for an image file, which is read as OpenCV reads it.
    ///
    /// # Errors
    /// Where it cannot be read; as [`Detector::predict`].
    pub fn predict_file(&self, path: impl AsRef<Path>) -> Result<Vec<Detection>> {
        self.predict(&image::open(path.as_ref())?)
    }

    /// What the model was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the classes by their numbers; empty where the checkpoint has none.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The name of a class, or its number where it has none.
    pub fn class_name(&self, class_id: usize) -> String {
        self.class_names.get(class_id).cloned().unwrap_or_else(|| class_id.to_string())
    }

    /// Whether it was trained with all classes as one.
    pub fn single_cls(&self) -> bool {
        self.single_cls
    }

    /// The licence of the weights, where it is known.
    pub fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }

    /// The detector of `candle-yolov8` below, for work in steps and times.
    pub fn inner(&self) -> &candle_yolov8::Detector {
        &self.detector
    }
}
