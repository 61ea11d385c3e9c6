//! The form before Demucs 4.1: a zip of `torch.save` (`demucs/states.py: serialize_model`), of a
//! pickle and of the bytes of each storage that it speaks of.

use std::io::{Cursor, Read};

use bytes::Bytes;
use serde_json::Value;
use zip::{CompressionMethod, ZipArchive};

use super::node::Node;
use super::pickle::{self, Heap, Id, View};
use super::tensor::count;
use super::{Damaged, Package, Tensor};

pub(super) fn read(file: &Bytes) -> Result<Package, Damaged> {
    let mut archive = Archive::open(file)?;
    let (heap, root) = pickle::read(&archive.entry("data.pkl")?)?;
    let mut reader = Reader { heap: &heap, root, archive: &mut archive };
    let class = reader.node("klass")?.into_class("klass")?;
    let Value::Array(args) = reader.node("args")?.into_json("args")? else {
        return Err(Damaged::new("args is no tuple"));
    };
    let Value::Object(kwargs) = reader.node("kwargs")?.into_json("kwargs")? else {
        return Err(Damaged::new("kwargs is no dictionary"));
    };
    let state = super::state(reader.node("state")?)?;
    Ok(Package { class, args, kwargs, state })
}

struct Reader<'a> {
    heap: &'a Heap,
    root: Id,
    archive: &'a mut Archive,
}

impl Reader<'_> {
    /// An entry of the package. What nobody asks for, as the options of training, is passed over.
    fn node(&mut self, name: &str) -> Result<Node, Damaged> {
        let entry = self.heap.entry(self.root, name);
        let entry = entry.ok_or_else(|| Damaged::new(format!("its package has no {name:?}")))?;
        self.heap.node(entry, &mut |view| self.archive.tensor(view))
    }
}

/// A zip file. All its entries lie in one folder, of any name.
struct Archive {
    file: Bytes,
    zip: ZipArchive<Cursor<Bytes>>,
    folder: String,
    /// What a compressed entry was opened for last: tensors that share a storage come in a row.
    unpacked: Option<(String, Bytes)>,
}

impl Archive {
    fn open(file: &Bytes) -> Result<Self, Damaged> {
        let zip = ZipArchive::new(Cursor::new(file.clone())).map_err(broken)?;
        let folder = |name: &str| name.strip_suffix("data.pkl").map(str::to_owned);
        let folder = zip.file_names().flatten().find_map(|name| folder(&name));
        let folder = folder.ok_or_else(|| Damaged::new("the zip file has no data.pkl"))?;
        let mut archive = Self { file: file.clone(), zip, folder, unpacked: None };
        // Older versions of torch did not say, and wrote on machines of the little end.
        if archive.entry("byteorder").is_ok_and(|order| order != "little") {
            return Err(Damaged::new(
                "its numbers are not in the order of bytes of the little end",
            ));
        }
        Ok(archive)
    }

    /// The bytes of an entry: a part of the file, if it is not compressed.
    fn entry(&mut self, name: &str) -> Result<Bytes, Damaged> {
        if let Some((unpacked, bytes)) = &self.unpacked
            && unpacked == name
        {
            return Ok(bytes.clone());
        }
        let mut entry = self.zip.by_name(&format!("{}{name}", self.folder)).map_err(broken)?;
        let outside = || Damaged::new(format!("{name} does not lie within the file"));
        if entry.compression() == CompressionMethod::Stored {
            let start = entry.data_start().ok_or_else(outside)? as usize;
            let end = start.checked_add(entry.size() as usize).ok_or_else(outside)?;
            if end > self.file.len() {
                return Err(outside());
            }
            return Ok(self.file.slice(start..end));
        }
        // Deflate makes at most some thousand bytes of one: a size beyond that is a lie.
        let size = entry.size();
        if size > entry.compressed_size().saturating_mul(1100) {
            return Err(outside());
        }
        let mut bytes = Vec::new();
        (&mut entry).take(size).read_to_end(&mut bytes).map_err(broken)?;
        let bytes = Bytes::from(bytes);
        self.unpacked = Some((name.to_owned(), bytes.clone()));
        drop(entry);
        Ok(bytes)
    }

    fn tensor(&mut self, view: &View) -> Result<Tensor, Damaged> {
        let View { storage, offset, shape, strides } = view;
        let bytes = self.entry(&format!("data/{}", storage.key))?;
        let outside = || Damaged::new(format!("a tensor reaches beyond storage {}", storage.key));
        let width = storage.dtype.bytes();
        let values = count(shape).filter(|values| *values <= storage.values).ok_or_else(outside)?;
        let storage_bytes = storage.values.checked_mul(width);
        if storage_bytes.is_none_or(|needed| needed > bytes.len()) {
            return Err(outside());
        }
        if values == 0 {
            return Tensor::new(storage.dtype, shape.clone(), Bytes::new());
        }
        let end = end(*offset, shape, strides).filter(|end| *end <= storage.values);
        end.ok_or_else(outside)?;
        let data = if is_dense(shape, strides) {
            bytes.slice(offset * width..(offset + values) * width)
        } else {
            gather(&bytes, width, *offset, shape, strides)
        };
        Tensor::new(storage.dtype, shape.clone(), data)
    }
}

/// The first value that a view does not reach any more, if it can be counted.
fn end(offset: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    let last = shape.iter().zip(strides).try_fold(offset, |last, (length, stride)| {
        last.checked_add((length - 1).checked_mul(*stride)?)
    });
    last?.checked_add(1)
}

/// Whether the values lie one behind the other.
fn is_dense(shape: &[usize], strides: &[usize]) -> bool {
    let mut dense = 1;
    for (length, stride) in shape.iter().zip(strides).rev() {
        if *length != 1 && *stride != dense {
            return false;
        }
        dense *= length;
    }
    true
}

/// Puts the values of a view one behind the other.
fn gather(bytes: &Bytes, width: usize, offset: usize, shape: &[usize], strides: &[usize]) -> Bytes {
    let mut starts = vec![offset];
    for (length, stride) in shape.iter().zip(strides) {
        let along = |start: usize| (0..*length).map(move |step| start + step * stride);
        starts = starts.into_iter().flat_map(along).collect();
    }
    let value = |start: usize| &bytes[start * width..(start + 1) * width];
    starts.into_iter().flat_map(value).copied().collect()
}

fn broken(error: impl std::error::Error) -> Damaged {
    Damaged::new(format!("the zip file is broken: {error}"))
}
