//! Prints what [`ghostzoo_weights::read`] makes of a file, in the form of `tests/oracle/checkpoints.py dump FILE`:
//! one JSON object from tensor name to dtype, shape and two sums. The metadata goes to stderr.

use candle_core::DType;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: describe FILE")?;
    let checkpoint = ghostzoo_weights::read(path.as_ref())?;
    eprintln!("{}", serde_json::to_string_pretty(&checkpoint.metadata)?);
    let mut rows = serde_json::Map::new();
    for (name, tensor) in &checkpoint.tensors {
        let values = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let count = values.len() as f64;
        let weighted: f64 = values.iter().zip(1u32..).map(|(value, i)| value * f64::from(i) / count).sum();
        let row = serde_json::json!({
            "dtype": tensor.dtype().as_str(), "shape": tensor.dims(), "sum": values.iter().sum::<f64>(), "weighted": weighted,
        });
        rows.insert(name.clone(), row);
    }
    println!("{}", serde_json::Value::Object(rows));
    Ok(())
}
