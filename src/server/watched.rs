//! The socket as hyper sees it: what comes has passed the inlet, and the watch is told.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inlet::{Inlet, Next};
use super::stream::Stream;
use super::watch::Watch;

/// A socket that lets requests pass, and tells its [`Watch`].
pub(super) struct Watched {
    pub(super) stream: Stream,
    pub(super) watch: Rc<Watch>,
    pub(super) inlet: Inlet,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, watch, inlet } = &mut *self;
        loop {
            match inlet.next(watch.answer_is_owed()) {
                Next::Read => {}
                Next::End => return Poll::Ready(Ok(())),
                Next::Wait => {
                    watch.wait_to_read(cx.waker());
                    return Poll::Pending;
                }
                Next::Held => {
                    inlet.give(buf.remaining(), |bytes| buf.put_slice(bytes));
                    return Poll::Ready(Ok(()));
                }
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
            let Some(read) = buf.filled().get(before..).filter(|read| !read.is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            let fit = inlet.take(read);
            watch.holds_head(inlet.holds_head());
            watch.took_whole_requests(inlet.is_between_requests());
            buf.set_filled(before + fit);
            if fit > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match join_small(bufs, &mut [0; SMALL]) {
            Some(small) => Pin::new(&mut self.stream).poll_write(cx, small),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        };
        self.watch.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch.wrote(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inlet.refused().is_some() {
            return Poll::Ready(Ok(())); // the refusal is still to be written
        }
        if self.stream.ends_when_closed() {
            return Poll::Ready(Ok(())); // which is next
        }
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch.wrote(&result);
        result
    }
}

/// What is smaller than this is put together: the kernel takes one slice faster than several, and TLS
/// makes one record of it. In bytes.
const SMALL: usize = 1024;

fn join_small<'b>(bufs: &[io::IoSlice<'_>], into: &'b mut [u8; SMALL]) -> Option<&'b [u8]> {
    let mut filled = 0;
    for buf in bufs {
        into.get_mut(filled..filled + buf.len())?.copy_from_slice(buf);
        filled += buf.len();
    }
    into.get(..filled)
}
