//! Files of `torch.save`, read without executing anything in them.
//!
//! Both containers are read, the zip of PyTorch 1.6 and later and the plain sequence of pickles before it. A class that is
//! only built becomes inert data; a callable that is not known to be data is refused by its name.

mod directory;
mod extract;
mod literal;
mod machine;
mod reduce;
mod refusal;
mod text;
mod torch_file;
mod value;

pub(crate) use extract::extract;
pub(crate) use refusal::Refusal;
pub(crate) use torch_file::TorchFile;
