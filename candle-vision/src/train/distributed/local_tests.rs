use std::thread;
use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor, Var};
use ghostzoo_kernels::{Activation, ConvGeometry, conv2d, joint_backward};

use super::{Communicator, GroupError, LocalGroup, ProcessGroup};

/// What each member's thread gives, by rank.
fn each<R: Send>(members: Vec<LocalGroup>, f: impl Fn(LocalGroup) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let threads: Vec<_> = members.into_iter().map(|member| scope.spawn(|| f(member))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn sums_are_those_in_the_order_of_ranks_on_every_member() -> Result<()> {
    // In another order they would be rounded otherwise.
    let own = [1e16, 1., -1e16, 1.];
    let expected = own.iter().fold(0., |sum, next| sum + next);
    for round in each(LocalGroup::new(4), |member| {
        let mut all = Vec::new();
        for round in 0..200 {
            let mut values = [own[member.rank()], round as f64];
            member.all_reduce_f64(&mut values)?;
            let mut singles = [member.rank() as f32];
            member.all_reduce_f32(&mut singles)?;
            let mut bytes = [member.rank() as u8];
            member.broadcast(round % 4, &mut bytes)?;
            member.barrier()?;
            all.push((values, singles, bytes));
        }
        Ok::<_, GroupError>(all)
    }) {
        for (number, (values, singles, bytes)) in round?.into_iter().enumerate() {
            assert_eq!((values, singles, bytes), ([expected, 4. * number as f64], [6.], [(number % 4) as u8]));
        }
    }
    Ok(())
}

#[test]
fn members_that_wait_for_one_that_is_gone_are_told_so() {
    let said = each(LocalGroup::new(3), |member| match member.rank() {
        1 => {
            let went = member.barrier();
            drop(member);
            went.and(Err(GroupError::Transport("left".to_owned())))
        }
        _ => member.barrier().and_then(|()| member.barrier()),
    });
    let texts: Vec<String> = said.into_iter().map(|said| said.expect_err("an end").to_string()).collect();
    assert_eq!(texts, ["rank 1 of 3 is gone", "left", "rank 1 of 3 is gone"]);
    let said = each(LocalGroup::new(2), |member| {
        if member.rank() == 1 {
            member.abort("the disk is full");
        }
        member.barrier()
    });
    for said in said {
        assert_eq!(said.expect_err("an end").to_string(), "rank 1 of 2 is gone: the disk is full");
    }
}

#[test]
fn nobody_waits_longer_than_told() {
    let said = each(LocalGroup::with_timeout(3, Duration::from_millis(50)), |member| {
        if member.rank() == 2 {
            // It comes when the others have given up, and does not wait for them.
            thread::sleep(Duration::from_millis(500));
        }
        member.barrier()
    });
    for said in said {
        let text = said.expect_err("an end").to_string();
        assert!(text.starts_with("rank 2 of 3 did not come within 0 s"), "{text}");
    }
}

#[test]
fn members_that_do_not_do_the_same_are_told_so() {
    for said in each(LocalGroup::new(2), |member| match member.rank() {
        0 => member.all_reduce_f64(&mut [0.; 3]),
        _ => member.all_reduce_f32(&mut [0.; 2]),
    }) {
        let text = said.expect_err("a difference").to_string();
        assert_eq!(
            text,
            "rank 1 gives 2 numbers of f32 to add, and rank 0 3 numbers of f64 to add: the processes do not do the same"
        );
    }
    for said in each(LocalGroup::new(2), |member| member.broadcast(7, &mut [0])) {
        assert_eq!(said.expect_err("no rank").to_string(), "there is no rank 7 to take bytes of");
    }
}

#[test]
fn what_is_gathered_and_sent_is_every_rank_s_own() -> Result<()> {
    for found in each(LocalGroup::new(3), |member| {
        let group = Communicator::new(member);
        let rank = group.rank();
        let all = group.gather(&[rank as f64, f64::NAN])?;
        let sums = group.sum(&[0.5, rank as f64])?;
        let bytes = group.broadcast(1, vec![rank as u8; 2 * rank])?;
        Ok::<_, GroupError>((all, sums, bytes, group.traffic().bytes, group.is_main()))
    })
    .into_iter()
    .enumerate()
    {
        let (rank, (all, sums, bytes, sent, is_main)) = (found.0, found.1?);
        assert!(all.iter().enumerate().all(|(rank, own)| own[0] == rank as f64 && own[1].is_nan()), "{all:?}");
        assert_eq!((sums, bytes, sent, is_main), (vec![1.5, 3.], vec![1, 1], 2 * 48 + 8 + 2, rank == 0));
    }
    Ok(())
}

#[test]
fn gradients_become_those_of_all_members() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for found in each(LocalGroup::new(2), |member| {
            let group = Communicator::new(member);
            let [a, b, c] = [3, 2, 1].map(|count| Var::ones(count, dtype, &Device::Cpu));
            let parameters = [("a".to_owned(), a?), ("b".to_owned(), b?), ("c".to_owned(), c?)];
            let [(_, a), (_, b), (_, c)] = &parameters;
            let factor = (group.rank() + 1) as f64;
            let loss = ((a.sum_all()? * factor)? + (c.sum_all()? * (10. * factor))?)?;
            let grads = group.backward(&loss, &parameters, false)?;
            assert!(grads.get(b).is_none());
            let values =
                |var: &Var| -> Result<Vec<f64>> { grads.get(var).expect("a gradient").to_dtype(DType::F64)?.to_vec1() };
            let of_other = grads.get(a).map(Tensor::dtype);
            Ok::<_, candle_core::Error>((values(a)?, values(c)?, of_other))
        }) {
            assert_eq!(found?, (vec![3.; 3], vec![30.], Some(dtype)));
        }
    }
    Ok(())
}

/// Two layers of more than a bucket each, then a variable outside of the joint operations and one on both sides.
#[test]
fn gradients_sent_during_the_pass_are_those_sent_at_its_end() -> Result<()> {
    const WIDE: usize = 600;
    let one = ConvGeometry::square(1);
    let learn = |member, overlap| -> Result<(Vec<Vec<f64>>, u64)> {
        let group = Communicator::new(member);
        let var = |name: &str, dims: [usize; 4]| -> Result<(String, Var)> {
            let values = crate::seeded::tensor(name, &dims.to_vec().into(), DType::F64, &Device::Cpu)?;
            Ok((name.to_owned(), Var::from_tensor(&values)?))
        };
        let parameters = [
            var("first.weight", [WIDE, 3, 1, 1])?,
            var("second.weight", [WIDE, WIDE, 1, 1])?,
            var("third.weight", [3, WIDE, 1, 1])?,
            var("outside.weight", [1, 3, 1, 1])?,
            var("both.weight", [3, 3, 1, 1])?,
            var("unused.weight", [1, 1, 1, 1])?,
        ];
        let [first, second, third, outside, both, _] = parameters.each_ref().map(|(_, var)| var.as_tensor());
        let name = format!("xs{}.weight", group.rank());
        let xs = crate::seeded::tensor(&name, &(2, 3, 2, 2).into(), DType::F64, &Device::Cpu)?;
        let ys = joint_backward(&xs, |xs| {
            let ys = conv2d(xs, both, None, &one, Activation::Silu)?;
            let ys = conv2d(&ys, first, None, &one, Activation::Silu)?;
            let ys = conv2d(&ys, second, None, &one, Activation::Silu)?;
            Ok(vec![conv2d(&ys, third, None, &one, Activation::Identity)?])
        })?;
        let loss = (ys[0].broadcast_mul(outside)?.sum_all()? + both.sqr()?.sum_all()?)?;
        let grads = group.backward(&loss, &parameters, overlap)?;
        let (_, unused) = &parameters[5];
        assert!(grads.get(unused).is_none());
        let of = |(_, var): &(String, Var)| grads.get(var).expect("a gradient").flatten_all()?.to_vec1();
        Ok((parameters[..5].iter().map(of).collect::<Result<_>>()?, group.traffic().bytes))
    };
    let [at_end, during] = [false, true].map(|overlap| {
        each(LocalGroup::new(2), |member| learn(member, overlap)).into_iter().collect::<Result<Vec<_>>>()
    });
    let (at_end, during) = (at_end?, during?);
    let doubles = 3 * WIDE + WIDE * WIDE + 3 * WIDE + 3 + 9;
    // What lies on both sides goes once more.
    for ((expected, once), (found, sent)) in at_end.iter().zip(&during) {
        assert_eq!((*once, *sent), (8 * doubles as u64, 8 * (doubles + 9) as u64));
        for (expected, found) in expected.iter().zip(found) {
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * a.abs().max(1.);
            assert!(expected.iter().zip(found).all(near), "{expected:?} {found:?}");
        }
    }
    assert_eq!(during[0].0, during[1].0, "both members have the same");
    Ok(())
}
