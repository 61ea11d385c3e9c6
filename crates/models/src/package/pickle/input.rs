use crate::package::Damaged;

/// What has not been read of a pickle.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(pickle: &'a [u8]) -> Self {
        Self { rest: pickle }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let ends = || Damaged::new("its pickle ends too early");
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(ends)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A text, after its length.
    pub(super) fn text(&mut self) -> Result<String, Damaged> {
        let length = self.u32()? as usize;
        utf8(self.take(length)?)
    }

    /// A text to the end of its line.
    pub(super) fn line(&mut self) -> Result<String, Damaged> {
        let length = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(length.unwrap_or(usize::MAX))?;
        self.take(1)?;
        utf8(line)
    }

    /// A number of as many bytes as the first one says.
    pub(super) fn long(&mut self) -> Result<i64, Damaged> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(Damaged::new(format!("its pickle has a number of {length} bytes")));
        }
        let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = [if is_negative { 0xff } else { 0 }; 8];
        number[..length].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(number))
    }

    pub(super) fn protocol(&mut self) -> Result<(), Damaged> {
        match self.byte()? {
            2 => Ok(()),
            other => Err(Damaged::new(format!("its pickle has protocol {other}, not 2"))),
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Damaged> {
    let text = str::from_utf8(bytes).map_err(|_| Damaged::new("its pickle has a broken text"))?;
    Ok(text.to_owned())
}
