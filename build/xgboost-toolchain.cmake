# Read by every cmake run that cargo starts (see .cargo/config.toml). Only XGBoost is built that way.
#
# The crate asks for a shared library and RelWithDebInfo; a static archive leaves one self-contained
# binary, and without debug info the archive is 40 MB instead of 468 MB.
set(BUILD_STATIC_LIB ON CACHE BOOL "" FORCE)
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O3 -DNDEBUG" CACHE STRING "" FORCE)
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O3 -DNDEBUG" CACHE STRING "" FORCE)

# One compilation serves every cargo profile, feature set, clean build and clone on this machine.
find_program(SERIN_CCACHE ccache)
if(SERIN_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${SERIN_CCACHE}" CACHE STRING "" FORCE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${SERIN_CCACHE}" CACHE STRING "" FORCE)
endif()
