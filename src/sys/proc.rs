//! Short files of `/proc`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than the kernel shows in any of those that are read here.
const LONGEST: usize = 4096;

/// The text of such a file. `std::fs` asks for the size first, which is 0 there, and then reads 32 bytes, as
/// many again, twice as many and so on.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(LONGEST);
    File::open(path)?.take(LONGEST as u64).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_of_the_file() {
        let text = read("/proc/self/comm").unwrap();
        assert_eq!(text, std::fs::read_to_string("/proc/self/comm").unwrap());
        assert_eq!(read("/proc/self/none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
