//! What the lanes carry.

use super::*;

/// Prints what the lanes carry. Run by hand: `cargo test -- --ignored --nocapture speed`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed() {
    for listen in [TCP, QUIC] {
        let (mut a, mut b) = (node(1, &[listen]).await, node(2, &[listen]).await);
        let (mut at_a, mut at_b) = pair(&mut a, &mut b).await;
        let echo = at_b.send.clone();
        tokio::spawn(async move {
            while let Some(frame) = at_b.recv.interactive.recv().await {
                echo.send(Lane::Interactive, frame).await.unwrap();
            }
        });
        for (bytes, frames) in [(64 << 10, 16_384_u32), (1 << 20, 1024)] {
            let send = at_a.send.clone();
            let frame = Bytes::from(vec![7; bytes]);
            let since = std::time::Instant::now();
            tokio::spawn(async move {
                for _ in 0..frames {
                    send.send(Lane::Data, frame.clone()).await.unwrap();
                }
            });
            let (mut got, mut rounds, mut worst) = (0, 0, Duration::ZERO);
            while got < frames {
                let sent = std::time::Instant::now();
                at_a.send.send(Lane::Interactive, Bytes::from_static(&[1; 100])).await.unwrap();
                loop {
                    tokio::select! {
                        _ = at_b.recv.data.recv() => got += 1,
                        _ = at_a.recv.interactive.recv() => break,
                    }
                }
                rounds += 1;
                worst = worst.max(sent.elapsed());
            }
            let mb = f64::from(frames) * bytes as f64 / 1e6;
            let rate = mb / since.elapsed().as_secs_f64();
            let mean = since.elapsed() / rounds;
            println!("{listen}: {bytes} B: {rate:.0} MB/s; round trip {mean:?}, worst {worst:?}");
        }
        let since = std::time::Instant::now();
        for _ in 0..2000 {
            at_a.send.send(Lane::Interactive, Bytes::from_static(&[1; 100])).await.unwrap();
            at_a.recv.interactive.recv().await.unwrap();
        }
        println!("{listen}: idle round trip {:?}", since.elapsed() / 2000);
    }
}
