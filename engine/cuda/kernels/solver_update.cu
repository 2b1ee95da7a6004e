// Everything of a denoising step behind the denoiser: guidance, the estimate of the clean latents,
// the solver's corrector and predictor, and its history. All three solvers are these few terms with
// other numbers (engine/solver.py, whose History.advance is the oracle).
//
// Compiled without fused multiply-add, and in the host's order: the results equal numpy's bit for
// bit. Each thread reads and writes its own element of each tensor, so all of them are updated in
// place and their addresses never change.

// Laid out as NUMBERS in engine/cuda/step_block.py.
struct StepNumbers {
    float sigma;
    float guidance;
    float corrector_sample;
    float corrector[3];  // of m_i, m_{i-1}, m_{i-2}
    float predictor_sample;
    float predictor[2];  // of m_i, m_{i-1}
    unsigned int guided;
    unsigned int corrector_terms;  // 0: no corrector
    unsigned int predictor_terms;
    unsigned int ordinal;  // of the step in its segment, from 1
};

extern "C" __global__ void solver_update(
    const StepNumbers *numbers,
    float *latents,              // x_i -> x_{i+1}
    const float *conditional,    // velocity
    const float *unconditional,  // velocity; not read where not guided
    float *sample,               // corrected x_{i-1} -> corrected x_i
    float *newest,               // m_{i-1} -> m_i
    float *older,                // m_{i-2} -> m_{i-1}
    unsigned int *first_bad_step,
    unsigned long long elements)
{
    unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= elements)
        return;

    float x = latents[i];
    float velocity = conditional[i];
    if (numbers->guided) {
        float without = unconditional[i];
        velocity = without + numbers->guidance * (velocity - without);
    }
    float m0 = x - numbers->sigma * velocity;
    float m1 = newest[i];
    if (numbers->corrector_terms) {
        x = sample[i] * numbers->corrector_sample;
        x += numbers->corrector[0] * m0;
        if (numbers->corrector_terms > 1)
            x += numbers->corrector[1] * m1;
        if (numbers->corrector_terms > 2)
            x += numbers->corrector[2] * older[i];
    }
    float next = x * numbers->predictor_sample;
    next += numbers->predictor[0] * m0;
    if (numbers->predictor_terms > 1)
        next += numbers->predictor[1] * m1;

    latents[i] = next;
    sample[i] = x;
    newest[i] = m0;
    older[i] = m1;
    // Host memory: read only where something is wrong. All threads of a step write the same.
    if (!isfinite(next) && *(volatile unsigned int *)first_bad_step == 0)
        *(volatile unsigned int *)first_bad_step = numbers->ordinal;
}
