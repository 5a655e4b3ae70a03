#ifndef DIFFC_DIFFC_H
#define DIFFC_DIFFC_H

/* libdiffc: diffusion models for C programs. This header brings the whole interface, in four tiers:
 *   0  context, tensor, rng, image, archive      values and files
 *   1  schedule, sampler, guidance               the pieces of a sampling loop
 *   2  model, text                               networks that predict noise, velocity or classes
 *   3  train, and diffc_sample() of sampler.h    whole loops
 * A program may stop at any tier: the higher ones are written with the calls of the lower ones. */

#include <diffc/archive.h>
#include <diffc/common.h>
#include <diffc/communicator.h>
#include <diffc/context.h>
#include <diffc/guidance.h>
#include <diffc/image.h>
#include <diffc/model.h>
#include <diffc/rng.h>
#include <diffc/sampler.h>
#include <diffc/schedule.h>
#include <diffc/tensor.h>
#include <diffc/text.h>
#include <diffc/train.h>
#include <diffc/version.h>

#endif
