use std::fmt;
use std::str::FromStr;

use crate::Precision;

/// Where a model computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

/// Why there is no such [`Device`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// Not the name of a device.
    #[error("there is no device {0:?}: it is cpu, cuda or cuda:<index>")]
    Unknown(String),
    /// CUDA was asked for and this libtorch, or this machine, has none.
    #[error(
        "{device} was asked for, and libtorch sees no CUDA device: is the driver there, and is \
         the libtorch that was found at start one with CUDA (see LD_LIBRARY_PATH)?"
    )]
    NoCuda {
        /// The device that was asked for.
        device: Device,
    },
    /// There is CUDA, with fewer devices.
    #[error("{device} was asked for, and there are {count} CUDA devices, counted from 0")]
    NoSuchCuda {
        /// The device that was asked for.
        device: Device,
        /// CUDA devices that there are.
        count: usize,
    },
}

impl Device {
    /// What is best computed with here, unless something else is asked for: on a GPU, numbers of
    /// 16 bits, on the CPU those of the reference.
    pub fn precision(self) -> Precision {
        match self {
            Self::Cpu => Precision::Single,
            Self::Cuda(_) => Precision::Half,
        }
    }

    /// libtorch's name for this device, once it is sure that it is there.
    pub(crate) fn open(self) -> Result<tch::Device, DeviceError> {
        let Self::Cuda(index) = self else {
            return Ok(tch::Device::Cpu);
        };
        if !tch::Cuda::is_available() {
            return Err(DeviceError::NoCuda { device: self });
        }
        let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
        if index >= count {
            return Err(DeviceError::NoSuchCuda { device: self, count });
        }
        // Every segment has the same shape: what is found out once is worth it.
        tch::Cuda::cudnn_set_benchmark(true);
        Ok(tch::Device::Cuda(index))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(name.to_owned());
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let index = name.strip_prefix("cuda:").ok_or_else(unknown)?;
                index.parse().map(Self::Cuda).map_err(|_| unknown())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for name in ["", "gpu", "cuda:", "cuda:-1", "CPU"] {
            assert_eq!(name.parse::<Device>(), Err(DeviceError::Unknown(name.to_owned())));
        }
    }
}
