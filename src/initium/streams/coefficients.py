"""The constants of the streams. They are part of the specification: no value may ever change.

float32 polynomials are minimax fits (Remez) of our own. Of float64 the series are Taylor's, with
coefficients that need no table. The inverse of the normal distribution is AS 241 (Wichura, The
percentage points of the normal distribution, Applied Statistics 37, 1988): PPND7 and PPND16.
All tuples run from the lowest power to the highest.

Compiled kernels are cached under a hash of this file and of their own (see `compiled.py`).
"""

import math

# Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011)
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

LN2 = 0.6931471805599453
HALF_PI = 1.5707963267948966
# the bits of sqrt(1/2) in float32 and float64
ROOT_SINGLE, ROOT_DOUBLE = 0x3F3504F3, 0x3FE6A09E667F3BCD

# -2·log(1 + f) = -2·f + f²·LOG(f) for sqrt(1/2) <= 1 + f < sqrt(2), to 6e-8
LOG = (
    0.999999832132, -0.666679004272, 0.500035104408, -0.399241448462,
    0.331410183352, -0.298359435442, 0.286150287694, -0.1746967840718,
)  # fmt: skip
# sin x = x + x³·SIN(x²), cos x = 1 - x²/2 + x⁴·COS(x²) for |x| <= pi/4, to 4e-9 and 1e-10
SIN = (-0.166666549437, 0.00833217814618, -0.00019517298984)
COS = (0.0416666468664, -0.00138873675158, 2.44384515951e-5)

# the same in float64: log((1 + s) / (1 - s)) = s·LOG_DOUBLE(s²), and Taylor's series of sine and
# cosine in x²
LOG_DOUBLE = tuple(2.0 / (2 * k + 1) for k in range(11))
SIN_DOUBLE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
COS_DOUBLE = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(10))

# z = x·MIDDLE(y)/UNDER(y) with y = MIDST - x², for |x| = |p - 1/2| <= 0.4773, two sigma: a fit of our
# own, to 7e-8
MIDST = 0.228
MIDDLE = (4.1980301025, 224.9432088, 3045.7981175, 9758.344253, 3465.2282182)
UNDER = (1.0, 61.153420161, 1021.9674774, 4741.4961907, 4037.7396211)

# AS 241: with x = p - 1/2, z = x·A(y)/B(y) where |x| <= CENTRE, y = CENTRE² - x²; beyond that
# r = sqrt(-log(min(p, 1 - p))), and |z| = C(r - 1.6)/D(r - 1.6) to r = FAR, E(r - 5)/F(r - 5) beyond
CENTRE = 0.425
NEAR, FAR = 1.6, 5.0
A_SINGLE = (3.3871327179, 50.434271938, 159.29113202, 59.109374720)
B_SINGLE = (1.0, 17.895169469, 78.757757664, 67.187563600)
C_SINGLE = (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103)
D_SINGLE = (1.0, 0.73700164250, 0.12021132975)
A_DOUBLE = (
    3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3,
    1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
    3.3430575583588128105e4, 2.5090809287301226727e3,
)  # fmt: skip
B_DOUBLE = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
    5.2264952788528545610e3,
)  # fmt: skip
C_DOUBLE = (
    1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
    3.64784832476320460504, 1.27045825245236838258, 2.41780725177450611770e-1,
    2.27238449892691845833e-2, 7.74545014278341407640e-4,
)  # fmt: skip
D_DOUBLE = (
    1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)  # fmt: skip
E_DOUBLE = (
    6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
    2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
    2.71155556874348757815e-5, 2.01033439929228813265e-7,
)  # fmt: skip
F_DOUBLE = (
    1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
    7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)  # fmt: skip
